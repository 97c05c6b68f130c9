package rfc9111

import (
	"bytes"
	"slices"

	"perto/internal/fields"
)

// Selector knows which requests a stored reply answers: those whose fields named
// by Vary have the values that the first request had (section 4.1). The zero
// Selector fits all.
type Selector struct {
	names    []string // lower case, in the order of Vary
	values   [][]byte // normalised, nil when the request had no such field
	language []byte   // Content-Language of the reply when it varies by Accept-Language
}

// NewSelector reads Vary from a reply and remembers what the request had. ok is
// false for "Vary: *", which fits no request at all.
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

// scratchSize is enough for the values that browsers send; longer ones make
// Match allocate.
const scratchSize = 512 // bytes

// Match tells whether the reply fits a request with this header.
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

// AppendKey appends what tells requests apart under these names: equal for two
// requests only when one reply could answer both. It is for keys of fetches in
// flight.
func (s *Selector) AppendKey(dst []byte, request fields.Header) []byte {
	for _, name := range s.names {
		dst = append(dst, 0)
		dst = append(dst, name...)
		dst = append(dst, '=')
		dst = appendSelecting(dst, name, request)
	}
	return dst
}

// Same tells whether two selectors were made from requests that one reply could
// answer: same names, same values.
func (s *Selector) Same(o *Selector) bool {
	return slices.Equal(s.names, o.names) && slices.EqualFunc(s.values, o.values, bytes.Equal)
}

// appendNormal appends the request's values of a field in a form that is equal
// for requests which mean the same (section 4.1 allows normalising where the
// field's semantics are known). It returns nil, not dst, when the field is
// absent and dst is empty.
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

// webCoding tells whether an origin could plausibly choose the coding.
func webCoding(e []byte) bool {
	for _, c := range [...]string{"gzip", "br", "zstd", "deflate", "dcb", "dcz", "*"} {
		if fields.Equal(e, c) {
			return true
		}
	}
	return false
}

// maxPreferences is how many members of a preference list are told apart, and
// maxMembers how many are looked at; what comes after is ignored. Browsers send
// up to about ten.
const (
	maxPreferences = 16
	maxMembers     = 64
)

type preference struct {
	tag []byte
	q   int // 0-1000
}

// appendPreferences writes a list with qvalues (RFC 9110, section 12.4.2) in a
// normal form: refused members (q=0) and unwanted ones left out, lower case,
// sorted, and by rank when ranked. A "*" beside refused members is left out too: it
// would take them in again.
func appendPreferences(dst []byte, name string, request fields.Header, wanted func([]byte) bool, ranked bool) []byte {
	var room [maxPreferences]preference
	list := preferences(room[:0], name, request, wanted)
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

// isAny tells whether a member stands for all that are not named.
func isAny(p preference) bool { return len(p.tag) == 1 && p.tag[0] == '*' }

// qvalue reads "q=0.5" as 500; what is absent or malformed counts as 1000.
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

// speaks tells whether the reply is in the one language that the request
// prefers to all others: the origin could not have chosen better.
func (s *Selector) speaks(request fields.Header) bool {
	if len(s.language) == 0 {
		return false
	}
	var room [maxPreferences]preference
	best, tie := preference{}, false
	for _, p := range preferences(room[:0], "accept-language", request, isLanguage) {
		switch {
		case p.q > best.q:
			best, tie = p, false
		case p.q == best.q:
			tie = true
		}
	}
	return !tie && fields.EqualFold(best.tag, s.language)
}
