package config

import "github.com/hashicorp/hcl/v2/hclwrite"

// Format returns a file with its spaces and line breaks in the usual form. What
// it says does not change; a file with syntax errors is formatted as far as it
// goes.
func Format(src []byte) []byte { return hclwrite.Format(src) }
