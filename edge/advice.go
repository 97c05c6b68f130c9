package edge

import (
	"bytes"
	"slices"

	"perto/edge/cache"
)

// advise returns advice for the operator about a stored reply, or "".
//
// Build tools put a hash of the contents into the names of files. Such a file never
// changes, but without a lifetime every browser validates it at each load.
func advise(path []byte, o *cache.Object) string {
	if o.Status != 200 || !hasHashedName(path) || o.Header.Contains("cache-control", "immutable") {
		return ""
	}
	return "the name has a hash of the contents, so the file never changes: with \"Cache-Control: public, max-age=31536000, immutable\" from the origin, browsers would not validate it"
}

// hasHashedName reports whether the last segment of a path has a hash before its
// extension, as in app-BxD4a9f2.js and app.3f9c1b2a.css.
func hasHashedName(path []byte) bool {
	path, _, _ = bytes.Cut(path, []byte("?"))
	name := path[bytes.LastIndexByte(path, '/')+1:]
	dot := bytes.LastIndexByte(name, '.')
	if dot < 0 || !slices.Contains(hashedTypes[:], string(name[dot+1:])) {
		return false
	}
	stem := name[:dot]
	at := bytes.LastIndexAny(stem, "-.")
	// The hash may have a hyphen itself: it then has eight characters, as of Vite.
	for ; at > 0; at = bytes.LastIndexAny(stem[:at], "-.") {
		if isHash(stem[at+1:]) {
			return true
		}
		if len(stem)-at > hashLength+1 {
			return false
		}
	}
	return false
}

// hashedTypes are the extensions for which a name is read. Photos are left out, because
// cameras write names such as DSC01234.
var hashedTypes = [...]string{"js", "mjs", "css", "wasm", "woff", "woff2"}

// hashLength is the length of the hashes of Vite and Rollup, in characters.
const hashLength = 8

// isHash reports whether s looks like a hash and not like a word: hexadecimal digits, or
// eight characters of base64 with a digit or a capital letter inside.
func isHash(s []byte) bool {
	if len(s) < hashLength {
		return false
	}
	hex, digits, capitals := true, 0, 0
	for i, c := range s {
		digit := '0' <= c && c <= '9'
		lower := 'a' <= c && c <= 'z'
		upper := 'A' <= c && c <= 'Z'
		switch {
		case digit:
			digits++
		case upper && i > 0:
			capitals++
		case !lower && !upper && c != '-' && c != '_':
			return false
		}
		hex = hex && (digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F')
	}
	if hex {
		return digits > 0 && digits < len(s) // a number alone is a date or a version
	}
	return len(s) == hashLength && digits+capitals > 0
}
