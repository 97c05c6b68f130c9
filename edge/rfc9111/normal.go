package rfc9111

import (
	"bytes"
	"strconv"

	"perto/internal/fields"
)

// A stored reply is selected by the field values that the origin received.
// Accept-Encoding and Accept-Language go to the origin in the form that selects (see
// [Canonical]). Values of other fields with an unusual form, such as "a,,b", select by
// their exact bytes. An origin may read "a,,b" differently from "a,b", and then its
// reply must not be used for requests with "a,b".

// exactMark begins a selecting value that is compared byte by byte. absentMark stands
// for an absent field. No field value contains these bytes.
const (
	absentMark = 1
	exactMark  = 2
)

// isText reports whether a field is not a list, so that commas in it have no meaning.
func isText(name string) bool {
	switch name {
	case "cookie", "user-agent", "authorization", "referer", "origin", "from", "host":
		return true
	}
	return false
}

// appendSelecting appends the selecting value of a field for a stored reply to this
// request. It returns nil, not dst, when the field is absent and dst is empty.
func appendSelecting(dst []byte, name string, request fields.Header) []byte {
	if request.Has(name) && (isText(name) || !isPreference(name) && !isUnambiguous(name, request)) {
		return appendExact(dst, name, request)
	}
	return appendNormal(dst, name, request)
}

// appendExact appends exactMark and the lines of a field combined into one.
func appendExact(dst []byte, name string, request fields.Header) []byte {
	first := true
	for v := range request.Values(name) {
		if first {
			dst = append(dst, exactMark)
		} else {
			dst = append(dst, separator(name)...)
		}
		first = false
		dst = append(dst, v...)
	}
	return dst
}

// separator returns the text between two combined lines of a field (RFC 9110, section
// 5.3, and RFC 6265, section 5.4).
func separator(name string) string {
	if name == "cookie" {
		return "; "
	}
	return ", "
}

// isUnambiguous reports whether a list has a form that all recipients read in the same
// way: members without quotes, separated by a comma and at most one space.
func isUnambiguous(name string, request fields.Header) bool {
	lines, empty := 0, false
	for v := range request.Values(name) {
		lines++
		if empty = empty || len(v) == 0; bytes.IndexByte(v, '"') >= 0 {
			return false
		}
		for e := range fields.List(v) {
			if &e[0] != &v[0] {
				return false
			}
			v = v[len(e):]
			if len(v) == 0 {
				break
			}
			if len(v) == 1 || v[0] != ',' {
				return false
			}
			if v = v[1:]; v[0] == ' ' {
				v = v[1:]
			}
			if len(v) == 0 {
				return false
			}
		}
		if len(v) > 0 {
			return false
		}
	}
	return lines == 1 || !empty
}

func isPreference(name string) bool { return name == "accept-encoding" || name == "accept-language" }

// Canonical returns the fields of a request for a fetch that fills the cache.
// Preferences have the form that selects, and lines with the same name are combined. It
// may change the lines of h.
func Canonical(h fields.Header) fields.Header {
	out := h[:0:0]
next:
	for i, f := range h {
		for k := range out {
			if fields.EqualFold(out[k].Name, f.Name) {
				continue next
			}
		}
		name := string(bytes.ToLower(f.Name))
		switch {
		case isPreference(name):
			f.Value = canonicalPreferences(name, h)
		case h[i+1:].Has(name):
			f.Value = appendExact(nil, name, h)[1:]
		}
		out = append(out, f)
	}
	return out
}

// canonicalPreferences writes a list of preferences that has the same normal form as
// the request's list.
func canonicalPreferences(name string, h fields.Header) []byte {
	normal := appendNormal(nil, name, h)
	if len(normal) == 0 {
		return []byte("identity") // of Accept-Encoding
	}
	ranks := bytes.Split(normal, []byte{';'})
	step := 100 // thousandths
	if len(ranks) > 10 {
		step = 1000 / (maxPreferences + 1)
	}
	var out []byte
	for rank, tags := range ranks {
		for tag := range bytes.SplitSeq(tags, []byte{','}) {
			if len(out) > 0 {
				out = append(out, ", "...)
			}
			if name == "accept-language" {
				out = appendLanguage(out, tag)
			} else {
				out = append(out, tag...)
			}
			if rank > 0 {
				q := strconv.FormatFloat(float64(1000-rank*step)/1000, 'f', -1, 64)
				out = append(append(out, ";q="...), q...)
			}
		}
	}
	return out
}

// appendLanguage writes a language tag in the letter case that RFC 5646, section 2.1.1,
// recommends: "pt-BR", "zh-Hant-TW". Some applications compare tags in that form.
func appendLanguage(dst, tag []byte) []byte {
	for i, part := range bytes.Split(tag, []byte{'-'}) {
		if i > 0 {
			dst = append(dst, '-')
		}
		switch {
		case i > 0 && len(part) == 2:
			dst = append(dst, bytes.ToUpper(part)...)
		case i > 0 && len(part) == 4:
			dst = append(append(dst, bytes.ToUpper(part[:1])...), part[1:]...)
		default:
			dst = append(dst, part...)
		}
	}
	return dst
}

// isLanguage reports whether a member of Accept-Language has the characters of a
// language range (RFC 4647, section 2.1).
func isLanguage(e []byte) bool {
	for _, c := range e {
		if !isAlpha(c) && !isDigit(c) && c != '-' && c != '*' {
			return false
		}
	}
	return len(e) > 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
