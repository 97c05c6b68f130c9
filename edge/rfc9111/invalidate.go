package rfc9111

import (
	"net/url"

	"perto/internal/fields"
)

// Safe tells whether a method only reads (RFC 9110, section 9.2.1).
func Safe(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// Idempotent tells whether a request may be sent again when nobody knows whether
// the first one arrived (RFC 9110, section 9.2.2).
func Idempotent(method string) bool {
	return Safe(method) || method == "PUT" || method == "DELETE"
}

// Invalidates tells whether an exchange makes what is stored for its target
// unusable: an unsafe method and no error (section 4.4).
func Invalidates(method string, status int) bool {
	return !Safe(method) && 200 <= status && status < 400
}

// Targets returns the request targets, besides the request's own, that a reply
// to an unsafe request makes unusable: those in Location and Content-Location,
// if they are of the same origin (section 4.4). host and target are the
// request's.
func Targets(host, target string, reply fields.Header) []string {
	base, err := url.Parse("http://" + host + target)
	if err != nil {
		return nil
	}
	var out []string
	for _, name := range [...]string{"location", "content-location"} {
		v, ok := reply.Get(name)
		if !ok {
			continue
		}
		u, err := base.Parse(string(v))
		if err != nil || u.Host != base.Host || u.User != nil {
			continue
		}
		out = append(out, u.RequestURI())
	}
	return out
}
