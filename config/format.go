package config

import "github.com/hashicorp/hcl/v2/hclwrite"

// Format returns a file in HCL's standard layout. Its meaning does not change. A file
// with syntax errors is formatted as far as possible.
func Format(src []byte) []byte { return hclwrite.Format(src) }
