package rfc9111

import (
	"bytes"
	"slices"

	"perto/internal/fields"
)

// Selector decides which requests a stored reply fits. In these requests, the fields
// named by Vary have the same values as in the request that fetched the reply (section
// 4.1). The zero Selector fits all requests.
type Selector struct {
	names    []string // lower case, in the order of Vary
	values   [][]byte // normalised; nil when the request did not have the field
	language []byte   // Content-Language of the reply when it varies by Accept-Language
}

// NewSelector returns the selector for the Vary field of a reply and the values of the
// request. ok is false for "Vary: *", which fits no request.
func NewSelector(reply, request fields.Header) (s Selector, ok bool) {
	for e := range reply.Elements("vary") {
		if len(e) == 1 && e[0] == '*' {
			return Selector{}, false
		}
		name := string(bytes.ToLower(e))
		if slices.Contains(s.names, name) {
			continue
		}
		s.names = append(s.names, name)
		s.values = append(s.values, slices.Clip(appendSelecting(nil, name, request)))
		if name == "accept-language" {
			if v, ok := reply.Get("content-language"); ok {
				s.language = bytes.Clone(v)
			}
		}
	}
	return s, true
}

// Names returns the names of the selecting fields in lower case.
func (s *Selector) Names() []string { return s.names }

// scratchSize is enough for the values that browsers send. Match allocates memory for
// longer ones.
const scratchSize = 512 // bytes

// Match reports whether the reply fits a request with this header.
func (s *Selector) Match(request fields.Header) bool {
	if len(s.names) == 0 {
		return true
	}
	var scratch [scratchSize]byte
	for i, name := range s.names {
		var got []byte
		if len(s.values[i]) > 0 && s.values[i][0] == exactMark {
			got = appendExact(scratch[:0], name, request)
		} else {
			got = appendNormal(scratch[:0], name, request)
		}
		if (got == nil) != (s.values[i] == nil) || !bytes.Equal(got, s.values[i]) {
			if name != "accept-language" || !s.speaks(request) {
				return false
			}
		}
	}
	return true
}

// AppendKey appends the names and the request's values of the selecting fields. The
// result is equal for two requests only when one reply could fit both. It is for keys
// of fetches in flight.
func (s *Selector) AppendKey(dst []byte, request fields.Header) []byte {
	for _, name := range s.names {
		dst = append(dst, 0)
		dst = append(dst, name...)
		dst = append(dst, '=')
		dst = appendSelecting(dst, name, request)
	}
	return dst
}

// Same reports whether two selectors have the same names and the same values.
func (s *Selector) Same(o *Selector) bool {
	return slices.Equal(s.names, o.names) && slices.EqualFunc(s.values, o.values, bytes.Equal)
}

// appendNormal appends the request's values of a field in normal form. The form is
// equal for values with the same meaning. Section 4.1 allows this for fields with known
// semantics. It returns nil, not dst, when the field is absent and dst is empty.
//
//	all fields        lines combined, white space round commas removed (see also
//	                  appendSelecting)
//	accept-language   lower case, ordered by preference and then by name
//	accept-encoding   only codings that the web uses, ordered by name
func appendNormal(dst []byte, name string, request fields.Header) []byte {
	if !request.Has(name) {
		if len(dst) == 0 {
			return nil
		}
		return append(dst, absentMark)
	}
	if dst == nil {
		dst = []byte{}
	}
	switch name {
	case "accept-language":
		base := len(dst)
		if dst = appendPreferences(dst, name, request, isLanguage, true); len(dst) == base {
			dst = append(dst, '*') // no preference
		}
		return dst
	case "accept-encoding":
		return appendPreferences(dst, name, request, webCoding, false)
	}
	first := true
	for e := range request.Elements(name) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, e...)
	}
	return dst
}

// webCoding reports whether origins on the web use the content coding.
func webCoding(e []byte) bool {
	for _, c := range [...]string{"gzip", "br", "zstd", "deflate", "dcb", "dcz", "*"} {
		if fields.Equal(e, c) {
			return true
		}
	}
	return false
}

// maxPreferences is the number of members of a preference list that count. maxMembers
// is the number of members that are read. Further members are ignored. Browsers send up
// to about ten.
const (
	maxPreferences = 16
	maxMembers     = 64
)

type preference struct {
	tag []byte
	q   int // 0-1000
}

// appendPreferences writes a list with qvalues (RFC 9110, section 12.4.2) in normal
// form: in lower case and sorted, by rank when ranked. It leaves out refused members
// (q=0) and unwanted ones. With a refused member it also leaves out "*", which would
// include that member again.
func appendPreferences(dst []byte, name string, request fields.Header, wanted func([]byte) bool, ranked bool) []byte {
	var buf [maxPreferences]preference
	list := preferences(buf[:0], name, request, wanted)
	slices.SortFunc(list, func(a, b preference) int {
		if ranked && a.q != b.q {
			return b.q - a.q
		}
		return compareFold(a.tag, b.tag)
	})
	for i, p := range list {
		switch {
		case i == 0:
		case ranked && p.q != list[i-1].q:
			dst = append(dst, ';')
		default:
			dst = append(dst, ',')
		}
		for _, c := range p.tag {
			dst = append(dst, fields.Lower(c))
		}
	}
	return dst
}

func preferences(list []preference, name string, request fields.Header, wanted func([]byte) bool) []preference {
	seen, refused := 0, false
	for e := range request.Elements(name) {
		if seen++; seen > maxMembers || len(list) == maxPreferences {
			break
		}
		tag, parameter, _ := bytes.Cut(e, []byte{';'})
		p := preference{tag: fields.Trim(tag), q: qvalue(fields.Trim(parameter))}
		switch {
		case !wanted(p.tag):
		case p.q == 0:
			refused = refused || !isAny(p)
		default:
			list = append(list, p)
		}
	}
	if refused {
		list = slices.DeleteFunc(list, isAny)
	}
	return list
}

// isAny reports whether a member is "*", which stands for all members not in the list.
func isAny(p preference) bool { return len(p.tag) == 1 && p.tag[0] == '*' }

// qvalue reads "q=0.5" as 500. An absent or malformed value counts as 1000.
func qvalue(v []byte) int {
	if len(v) < 3 || v[0]|0x20 != 'q' || v[1] != '=' {
		return 1000
	}
	v = v[2:]
	if v[0] != '0' {
		return 1000
	}
	q, unit := 0, 100
	for i := 2; i < len(v) && i < 5; i++ {
		if !isDigit(v[i]) {
			return 1000
		}
		q += int(v[i]-'0') * unit
		unit /= 10
	}
	return q
}

func compareFold(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if d := int(fields.Lower(a[i])) - int(fields.Lower(b[i])); d != 0 {
			return d
		}
	}
	return len(a) - len(b)
}

// speaks reports whether the reply is in the one language that the request prefers to
// all others. Then the origin could not choose a better reply.
func (s *Selector) speaks(request fields.Header) bool {
	if len(s.language) == 0 {
		return false
	}
	var buf [maxPreferences]preference
	best, tie := preference{}, false
	for _, p := range preferences(buf[:0], "accept-language", request, isLanguage) {
		switch {
		case p.q > best.q:
			best, tie = p, false
		case p.q == best.q:
			tie = true
		}
	}
	return !tie && fields.EqualFold(best.tag, s.language)
}
