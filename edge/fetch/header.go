package fetch

import (
	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// unforwarded are request fields that never reach an origin: those that the
// fetcher makes anew, and those which frameworks take for the truth about host,
// scheme, path or method although any client can send them. They are not part of
// the cache key, so an origin that believed them would poison the cache for
// everybody (research: H2, "unkeyed headers").
var unforwarded = [...]string{
	"host", "content-length", "expect", "http2-settings",
	"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-scheme",
	"x-forwarded-server", "x-forwarded-prefix", "x-forwarded-path", "x-host", "x-original-url", "x-original-host",
	"x-rewrite-url", "x-http-method", "x-http-method-override", "x-method-override", "x-real-ip", "client-ip",
	"true-client-ip", "x-client-ip", "x-cluster-client-ip", "surrogate-capability",
}

// conditional are the fields which ask for less than the whole reply. A fetch
// that fills the cache wants all of it; the client's condition is answered from
// what came.
var conditional = [...]string{"if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range", "range"}

// Forwarded returns the fields of a client's request that go to an origin. With
// filling the conditional ones stay out, and the others get the form by which the
// cache selects (see [rfc9111.Canonical]). The lines share the request's bytes.
func Forwarded(request fields.Header, filling bool) fields.Header {
	out := make(fields.Header, 0, len(request))
	for _, f := range request {
		if among(f.Name, unforwarded[:]) || filling && among(f.Name, conditional[:]) || rfc9111.HopByHop(f.Name, request) {
			continue
		}
		out = append(out, f)
	}
	if filling {
		return rfc9111.Canonical(out)
	}
	return out
}

func among(name []byte, list []string) bool {
	for _, l := range list {
		if fields.Equal(name, l) {
			return true
		}
	}
	return false
}

// Looped tells whether a request came through the CDN node called name before
// (RFC 8586): sending it on would go round for ever.
func Looped(request fields.Header, name string) bool {
	for e := range request.Elements("cdn-loop") {
		id := e
		for i, c := range e {
			if c == ';' || c == ' ' || c == '\t' {
				id = e[:i]
				break
			}
		}
		if string(id) == name {
			return true
		}
	}
	return false
}
