package fetch

import (
	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// unforwarded are request fields that never reach an origin. The fetcher writes some of
// them itself. Frameworks and customers of other CDNs trust the rest for the client,
// host, scheme, path or method, although any client can send them. They are not part
// of the cache key, so an origin that trusts them would poison the cache for all
// clients. docs/edge.md has the same list.
var unforwarded = [...]string{
	"host", "content-length", "expect", "http2-settings", "proxy", "surrogate-capability",
	// the client's address
	"forwarded", "forwarded-for", "x-forwarded", "x-forwarded-for", "x-original-forwarded-for", "x-forwarded-client-ip",
	"x-real-ip", "x-client-ip", "client-ip", "x-cluster-client-ip", "x-remote-ip", "x-remote-addr", "x-originating-ip",
	"x-proxyuser-ip", "proxy-client-ip", "wl-proxy-client-ip", "true-client-ip", "x-true-client-ip",
	"cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "cf-ipcountry", "cf-visitor", "fastly-client-ip", "fastly-client",
	"fly-client-ip", "do-connecting-ip", "cloudfront-viewer-address", "cloudfront-viewer-country",
	"x-azure-clientip", "x-azure-socketip", "x-appengine-user-ip", "x-envoy-external-address", "x-vercel-forwarded-for",
	// host, scheme and port
	"x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-protocol", "x-forwarded-scheme", "x-forwarded-ssl",
	"x-forwarded-server", "x-forwarded-by", "x-host", "x-original-host", "x-url-scheme", "x-scheme", "front-end-https", "x-arr-ssl",
	"fastly-ssl", "cloudfront-forwarded-proto",
	// path and method
	"x-forwarded-prefix", "x-forwarded-path", "x-forwarded-uri", "x-forwarded-method", "x-original-url", "x-original-uri", "x-rewrite-url",
	"x-envoy-original-path", "x-http-method", "x-http-method-override", "x-method-override", "x-middleware-subrequest",
}

// conditional are the fields that ask for less than the whole reply. A fetch that
// fills the cache asks for the whole reply. The edge evaluates the client's condition
// on the object.
var conditional = [...]string{"if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range", "range"}

// Forwarded returns the fields of a client's request that go to an origin. With
// filling, it leaves out the conditional fields and returns the others in canonical
// form (see [rfc9111.Canonical]). The result shares the request's bytes.
func Forwarded(request fields.Header, filling bool) fields.Header {
	out := make(fields.Header, 0, len(request))
	for _, f := range request {
		if isUnforwarded(f.Name) || filling && among(f.Name, conditional[:]) || rfc9111.HopByHop(f.Name, request) {
			continue
		}
		out = append(out, f)
	}
	if filling {
		return rfc9111.Canonical(out)
	}
	return out
}

// isUnforwarded compares names without regard to case, and treats "_" as "-", because
// CGI and its successors map both to one variable name.
func isUnforwarded(name []byte) bool {
	for i := range unforwarded {
		l := unforwarded[i]
		if len(l) != len(name) {
			continue
		}
		k := 0
		for k < len(l) && (fields.Lower(name[k]) == l[k] || name[k] == '_' && l[k] == '-') {
			k++
		}
		if k == len(l) {
			return true
		}
	}
	return false
}

func among(name []byte, list []string) bool {
	for _, l := range list {
		if fields.Equal(name, l) {
			return true
		}
	}
	return false
}

// Looped reports whether a request has already passed through the CDN node called name
// (RFC 8586). Such a request must not be forwarded, because it would loop.
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
