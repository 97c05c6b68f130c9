package config

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// isPath reports whether a label is a path, or a path with "/*" at its end.
func isPath(s string) bool {
	return s != "" && s[0] == '/' && !strings.ContainsAny(s, "?# ") && !strings.Contains(strings.TrimSuffix(s, "/*"), "*")
}

// isRequestPath reports whether a text is valid as path and query of a request line.
func isRequestPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '#' })
}

// path reads a path block of a service.
func (c *checker) path(b *hcl.Block, cookies string) Path {
	r := c.read(b.Body, b.DefRange, shape{optional: []string{"cookies"}})
	p := Path{Path: b.Labels[0], Cookies: r.oneOf("cookies", cookies, "pass", "strip")}
	if !isPath(p.Path) {
		c.fail(b.LabelRanges[0], `%q is no path; it takes "/logo.png", or "/assets/*" for all below`, p.Path)
	}
	return p
}
