package rfc9111

import (
	"bytes"

	"perto/internal/fields"
)

// isCookie reports whether a reply field sets a cookie (RFC 6265, and RFC 2965 for
// Set-Cookie2).
func isCookie(name []byte) bool {
	return fields.Equal(name, "set-cookie") || fields.Equal(name, "set-cookie2")
}

// isPersonal reports whether a reply field is only for the client that sent the
// request: cookies, and the results of authentication (RFC 7615).
func isPersonal(name []byte) bool {
	return isCookie(name) || fields.Equal(name, "authentication-info")
}

// StripCookies removes the fields that set cookies. It changes the lines of h.
func StripCookies(h fields.Header) fields.Header {
	kept := h[:0]
	for _, f := range h {
		if !isCookie(f.Name) {
			kept = append(kept, f)
		}
	}
	return kept
}

// Shared returns the lines of a reply that may be stored and sent to other clients: the
// end-to-end fields without withheld and personal ones. The lines share the reply's
// bytes.
func Shared(reply fields.Header, withheld [][]byte) fields.Header {
	out := EndToEnd(reply, withheld)
	kept := out[:0]
	for _, f := range out {
		if !isPersonal(f.Name) {
			kept = append(kept, f)
		}
	}
	return kept
}

// Own returns the end-to-end lines of a reply that [Shared] leaves out. They are only
// for the client that sent the request.
func Own(reply fields.Header, withheld [][]byte) (out fields.Header) {
	for _, f := range EndToEnd(reply, nil) {
		if isPersonal(f.Name) || named(withheld, f.Name) {
			out = append(out, f)
		}
	}
	return out
}

func named(list [][]byte, name []byte) bool {
	for _, n := range list {
		if fields.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// personalReason returns the reason not to store a reply with personal fields that the
// origin did not withhold. Cache-Control has no influence, not even public. Frameworks
// set public for files and then add the cookie of the visitor's session.
func personalReason(h fields.Header, withheld [][]byte) Reason {
	for _, f := range h {
		if named(withheld, f.Name) {
			continue
		}
		switch {
		case isCookie(f.Name):
			return SetsCookie
		case isPersonal(f.Name):
			return Authenticates
		case fields.Equal(f.Name, "www-authenticate") && !publicChallenge(f.Value):
			return Authenticates
		}
	}
	return Storable
}

// publicChallenge reports whether all challenges of a WWW-Authenticate value have
// schemes without per-exchange state. Other schemes (Digest, Negotiate, NTLM, SCRAM,
// ...) carry nonces or tokens (RFC 9110, section 11.6.1).
func publicChallenge(v []byte) bool {
	for e := range fields.List(v) {
		// A member is a parameter ("realm=x") or begins with a scheme.
		scheme := e
		if i := bytes.IndexAny(e, " \t="); i >= 0 {
			if rest := fields.Trim(e[i:]); len(rest) > 0 && rest[0] == '=' {
				continue
			}
			scheme = e[:i]
		}
		if !fields.Equal(scheme, "basic") && !fields.Equal(scheme, "bearer") {
			return false
		}
	}
	return true
}

// Denies reports whether a status means that credentials were missing or wrong. Such a
// reply must never be used for a request with other credentials.
func Denies(status int) bool { return status == 401 || status == 403 || status == 407 }

// FitsCredentials reports whether a stored reply with this status may be used for a
// request with this header. A reply that denies access is only used for requests
// without credentials.
func FitsCredentials(status int, request fields.Header) bool {
	return !Denies(status) || !request.Has("authorization")
}

// BindsConnection reports whether a head is part of an authentication of the whole
// connection (RFC 4559, and NTLM). Such a connection belongs to one client and must not
// carry requests of others.
func BindsConnection(h fields.Header) bool {
	for _, f := range h {
		if !fields.Equal(f.Name, "authorization") && !fields.Equal(f.Name, "www-authenticate") {
			continue
		}
		for e := range fields.List(f.Value) {
			scheme, _, _ := bytes.Cut(e, []byte{' '})
			if fields.Equal(scheme, "negotiate") || fields.Equal(scheme, "ntlm") {
				return true
			}
		}
	}
	return false
}
