package rfc9111

import (
	"net/url"

	"perto/internal/fields"
)

// Safe reports whether a method only reads (RFC 9110, section 9.2.1).
func Safe(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// Idempotent reports whether a request may be sent again when it is unknown whether the
// first one arrived (RFC 9110, section 9.2.2).
func Idempotent(method string) bool {
	return Safe(method) || method == "PUT" || method == "DELETE"
}

// Invalidates reports whether an exchange invalidates the replies stored for its
// target. It does when the method is unsafe and the status is no error (section 4.4).
func Invalidates(method string, status int) bool {
	return !Safe(method) && 200 <= status && status < 400
}

// Targets returns the further request targets that a reply to an unsafe request
// invalidates. These are the ones in Location and Content-Location if they have the
// same origin (section 4.4). host and target are those of the request.
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
