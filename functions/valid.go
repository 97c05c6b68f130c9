package functions

import "strings"

// Text of a guest becomes part of a message head: of a request line or a field line.
// Text that ends its line there would begin another message (RFC 9112, section 11.1).
// So invalid text ends the guest.

const (
	// maxFieldName and maxFieldValue are the longest that a guest may set, in bytes.
	maxFieldName  = 256
	maxFieldValue = 16 << 10
)

// validMethod reports whether a guest may set a method: a token (RFC 9110, section
// 9.1), but not CONNECT or TRACE, which the edge rejects from clients too.
func validMethod(s []byte) bool {
	return validName(s) && string(s) != "CONNECT" && string(s) != "TRACE"
}

// validName reports whether s is a token (RFC 9110, section 5.6.2) of a length that
// a field name may have.
func validName(s []byte) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return len(s) > 0 && len(s) <= maxFieldName
}

// validValue reports whether s may be a field value (RFC 9110, section 5.5): it has
// no control byte but the tab.
func validValue(s []byte) bool {
	for _, c := range s {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return len(s) <= maxFieldValue
}

// validTarget reports whether s has only bytes that the edge accepts in a client's
// request target. These are visible ASCII without five that RFC 3986 excludes and some
// programs rewrite.
func validTarget(s []byte) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\#`, c) >= 0 {
			return false
		}
	}
	return len(s) > 0
}

// validURI reports whether a guest may set a request target: path and query, or the
// "*" of OPTIONS.
func validURI(s []byte) bool {
	return validTarget(s) && (s[0] == '/' || string(s) == "*")
}
