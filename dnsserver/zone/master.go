package zone

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"perto/dnsserver/wire"
)

// master reads a zone file (RFC 1035, section 5). It splits the file into records
// itself, and miekg/dns parses the data of each record. This way it reports every
// mistake with its line, including truncated records.
type master struct {
	lexer  *lexer
	origin string // absolute, with the final dot
	owner  string // of the previous record; "" for none
	ttl    uint32 // of $TTL, or else of the previous record
	hasTTL bool
	fixed  bool // $TTL has set ttl
}

// maxTTL is the highest time to live, in seconds (RFC 2181, section 8).
const maxTTL = 1<<31 - 1

func newMaster(data []byte, origin string) *master {
	return &master{lexer: newLexer(data), origin: origin}
}

// next returns the records of the next entry and the line where the entry starts. At
// the end it returns no record and line 0. It may be called again after a mistake.
func (m *master) next() ([]dns.RR, int, error) {
	for {
		e, err := m.lexer.next()
		if err != nil {
			return nil, err.line, err
		}
		if e == nil {
			return nil, 0, nil
		}
		rrs, failed := m.entry(e)
		if failed != nil || len(rrs) > 0 {
			return rrs, e.line, failed
		}
	}
}

func (m *master) entry(e *entry) ([]dns.RR, error) {
	if !e.indented && strings.HasPrefix(e.fields[0], "$") {
		return m.directive(e)
	}
	fields := e.fields
	if e.indented {
		if m.owner == "" {
			return nil, errors.New("the line starts with a blank, but no record with an owner stands before it")
		}
	} else {
		owner, err := m.absolute(fields[0])
		if err != nil {
			return nil, err
		}
		m.owner, fields = owner, fields[1:]
	}
	rr, err := m.record(fields)
	if err != nil {
		return nil, fmt.Errorf("%s %w", strings.TrimSuffix(m.owner, "."), err)
	}
	return []dns.RR{rr}, nil
}

func (m *master) directive(e *entry) ([]dns.RR, error) {
	switch name := strings.ToUpper(e.fields[0]); name {
	case "$ORIGIN":
		if len(e.fields) != 2 {
			return nil, errors.New("$ORIGIN takes one name")
		}
		origin, err := m.absolute(e.fields[1])
		if err != nil {
			return nil, err
		}
		m.origin = origin
	case "$TTL":
		if len(e.fields) != 2 {
			return nil, errors.New("$TTL takes one time, such as 3600 or 1h")
		}
		ttl, err := parseTTL(e.fields[1])
		if err != nil {
			return nil, err
		}
		m.ttl, m.hasTTL, m.fixed = ttl, true, true
	case "$GENERATE":
		return m.generate(e)
	case "$INCLUDE":
		return nil, errors.New("$INCLUDE is not supported; put the records into this file")
	default:
		return nil, fmt.Errorf("unknown directive %s; known are $ORIGIN, $TTL and $GENERATE", e.fields[0])
	}
	return nil, nil
}

// absolute returns a name of the file with its final dot.
func (m *master) absolute(name string) (string, error) {
	if name == "@" {
		return m.origin, nil
	}
	if !isAbsolute(name) {
		name += "." + strings.TrimPrefix(m.origin, ".")
	}
	if _, err := wire.PackName(name); err != nil {
		return "", fmt.Errorf("%s: %w", printable([]byte(name)), err)
	}
	return name, nil
}

// isAbsolute reports whether a name ends in a dot that is not escaped.
func isAbsolute(name string) bool {
	before, dot := strings.CutSuffix(name, ".")
	slashes := len(before) - len(strings.TrimRight(before, `\`))
	return dot && slashes%2 == 0
}

// record reads a record behind its owner: TTL and class in either order, type, data.
func (m *master) record(fields []string) (dns.RR, error) {
	var ttl uint32
	hasTTL, class := false, ""
	for len(fields) > 0 {
		f := fields[0]
		if isDigit(f[0]) && !hasTTL {
			var err error
			if ttl, err = parseTTL(f); err != nil {
				return nil, err
			}
			hasTTL = true
		} else if _, ok := dns.StringToClass[strings.ToUpper(f)]; ok && class == "" && !strings.EqualFold(f, "ANY") {
			class = strings.ToUpper(f)
		} else {
			break
		}
		fields = fields[1:]
	}
	if len(fields) == 0 {
		return nil, errors.New("has no type; the line may be cut off")
	}
	name := strings.ToUpper(fields[0])
	data := fields[1:]
	t, known := dns.StringToType[name]
	if number, ok := strings.CutPrefix(name, "TYPE"); ok && !known { // RFC 3597, section 5
		n, err := strconv.ParseUint(number, 10, 16)
		t, known = uint16(n), err == nil
	}
	switch {
	case !known || t == dns.TypeOPT || t == dns.TypeNone || t >= dns.TypeTKEY && t <= dns.TypeANY:
		return nil, fmt.Errorf("has the unknown type %s", printable([]byte(fields[0])))
	case class != "" && class != "IN":
		return nil, fmt.Errorf("%s: class %s: only IN is served", name, class)
	}
	if err := checkFields(t, name, data); err != nil {
		return nil, err
	}
	ttl, err := m.timeToLive(t, data, ttl, hasTTL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	text := fmt.Sprintf(". %d IN %s %s\n", ttl, name, strings.Join(data, " "))
	p := dns.NewZoneParser(strings.NewReader(text), m.origin, "")
	rr, ok := p.Next()
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("%s: %s", name, reason(err))
	}
	if !ok {
		return nil, fmt.Errorf("%s: no data", name)
	}
	if err := checkData(rr); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	rr.Header().Name = m.owner
	return rr, nil
}

// timeToLive returns a record's time to live. This is its own value, that of $TTL, or
// that of the previous record (RFC 1035, section 5.1). A SOA without any of them uses
// its MINIMUM, as in BIND.
func (m *master) timeToLive(t uint16, data []string, ttl uint32, has bool) (uint32, error) {
	if !has {
		if !m.hasTTL && t == dns.TypeSOA {
			minimum, err := parseTTL(data[len(data)-1])
			if err != nil {
				return 0, err
			}
			m.ttl, m.hasTTL = minimum, true
		}
		if !m.hasTTL {
			return 0, errors.New("there is no time to live; start the file with $TTL 3600")
		}
		return m.ttl, nil
	}
	if !m.fixed {
		m.ttl, m.hasTTL = ttl, true
	}
	return ttl, nil
}

// parseTTL reads seconds ("3600") or a time with units ("1h30m"), as BIND does.
func parseTTL(s string) (uint32, error) {
	units := map[byte]uint64{'S': 1, 'M': 60, 'H': 3600, 'D': 86400, 'W': 7 * 86400}
	total, n, digits := uint64(0), uint64(0), 0
	for i := range len(s) {
		c := s[i]
		if isDigit(c) {
			n, digits = n*10+uint64(c-'0'), digits+1
			if digits > 10 {
				break
			}
			continue
		}
		factor, ok := units[c&^0x20]
		if !ok || digits == 0 {
			return 0, fmt.Errorf("%q is no time to live; it takes seconds, or a time such as 1h30m", s)
		}
		total, n, digits = total+n*factor, 0, 0
	}
	if total += n; total > maxTTL || digits > 10 {
		return 0, fmt.Errorf("the time to live %s is too long; it takes at most %d seconds (RFC 2181, section 8)", s, maxTTL)
	}
	return uint32(total), nil
}

// fieldCount is how many fields the data of a type has. most 0 means any number from
// least on.
type fieldCount struct{ least, most int }

// fieldCounts holds the types with final fields that miekg/dns does not require. Other
// types have at least one field.
var fieldCounts = map[uint16]fieldCount{
	dns.TypeA: {1, 1}, dns.TypeAAAA: {1, 1}, dns.TypeNS: {1, 1}, dns.TypeCNAME: {1, 1}, dns.TypePTR: {1, 1}, dns.TypeDNAME: {1, 1},
	dns.TypeMX: {2, 2}, dns.TypeSRV: {4, 4}, dns.TypeSOA: {7, 7}, dns.TypeHINFO: {2, 2}, dns.TypeRP: {2, 2}, dns.TypeAFSDB: {2, 2},
	dns.TypeNAPTR: {6, 6}, dns.TypeCAA: {3, 3}, dns.TypeURI: {3, 3}, dns.TypeKX: {2, 2}, dns.TypePX: {3, 3}, dns.TypeRT: {2, 2},
	dns.TypeDS: {4, 0}, dns.TypeCDS: {4, 0}, dns.TypeDNSKEY: {4, 0}, dns.TypeCDNSKEY: {4, 0}, dns.TypeKEY: {4, 0},
	dns.TypeTLSA: {4, 0}, dns.TypeSMIMEA: {4, 0}, dns.TypeSSHFP: {3, 0}, dns.TypeCERT: {4, 0}, dns.TypeZONEMD: {4, 0},
	dns.TypeHTTPS: {2, 0}, dns.TypeSVCB: {2, 0}, dns.TypeLOC: {4, 0}, dns.TypeCSYNC: {2, 0}, dns.TypeHIP: {3, 0},
	dns.TypeNID: {2, 2}, dns.TypeL32: {2, 2}, dns.TypeL64: {2, 2}, dns.TypeLP: {2, 2}, dns.TypeMINFO: {2, 2}, dns.TypeGPOS: {3, 3},
	dns.TypeEUI48: {1, 1}, dns.TypeEUI64: {1, 1}, dns.TypeX25: {1, 1}, dns.TypeAPL: {0, 0},
}

// checkFields checks that a record's data is complete.
func checkFields(t uint16, name string, data []string) error {
	if len(data) > 0 && data[0] == `\#` { // RFC 3597, section 5
		return checkOpaque(name, data)
	}
	count, ok := fieldCounts[t]
	if !ok {
		count.least = 1
	}
	switch {
	case len(data) < count.least && count.least == count.most:
		return fmt.Errorf("%s: the data has %d of %d fields; the line may be cut off", name, len(data), count.least)
	case len(data) < count.least:
		return fmt.Errorf("%s: the data has %d fields and needs at least %d; the line may be cut off", name, len(data), count.least)
	case count.most > 0 && len(data) > count.most:
		return fmt.Errorf("%s: %q is one field too many", name, data[count.most])
	}
	return nil
}

// checkOpaque checks data in the form of RFC 3597: \# LENGTH HEX.
func checkOpaque(name string, data []string) error {
	if len(data) < 2 {
		return fmt.Errorf(`%s: \# takes a length and hexadecimal digits; the line may be cut off`, name)
	}
	n, err := strconv.ParseUint(data[1], 10, 16)
	digits, bad := hex.DecodeString(strings.Join(data[2:], ""))
	if err != nil || bad != nil || len(digits) != int(n) {
		return fmt.Errorf(`%s: \# %s is followed by other than %s bytes in hexadecimal; the line may be cut off`, name, data[1], data[1])
	}
	return nil
}

// digestSizes are the lengths of digests in bytes, by the algorithm number of the type.
var (
	dsDigests    = map[uint8]int{1: 20, 2: 32, 3: 32, 4: 48} // IANA DS RR Type Digest Algorithms
	tlsaDigests  = map[uint8]int{1: 32, 2: 64}               // RFC 6698, section 2.1.3
	sshfpDigests = map[uint8]int{1: 20, 2: 32}               // RFC 4255, section 3.1.2, and RFC 6594
)

// checkData checks the lengths that miekg/dns does not check.
func checkData(rr dns.RR) error {
	digest := func(sizes map[uint8]int, kind uint8, text string) error {
		if want, ok := sizes[kind]; ok && len(text) != 2*want {
			return fmt.Errorf("the digest has %d hexadecimal digits; type %d has %d", len(text), kind, 2*want)
		}
		if len(text) == 0 || len(text)%2 != 0 {
			return errors.New("the digest is not whole bytes in hexadecimal")
		}
		return nil
	}
	switch rr := rr.(type) {
	case *dns.DS:
		return digest(dsDigests, rr.DigestType, rr.Digest)
	case *dns.TLSA:
		return digest(tlsaDigests, rr.MatchingType, rr.Certificate)
	case *dns.SMIMEA:
		return digest(tlsaDigests, rr.MatchingType, rr.Certificate)
	case *dns.SSHFP:
		return digest(sshfpDigests, rr.Type, rr.FingerPrint)
	}
	return nil
}

// reason removes the line numbers from an error of miekg/dns. They count inside one
// record.
func reason(err error) string {
	text := strings.TrimPrefix(err.Error(), "dns: ")
	if i := strings.LastIndex(text, " at line: "); i >= 0 {
		text = text[:i]
	}
	if i := strings.LastIndex(text, `: "`); i >= 0 && strings.HasPrefix(text, "bad ") {
		return strings.TrimSuffix(text[i+2:], `\n"`) + " is not valid (" + text[:i] + ")"
	}
	return text
}
