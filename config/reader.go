package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"perto"
)

// parser collects the mistakes of a file.
type parser struct {
	diags hcl.Diagnostics
	place PlaceResolver
}

func (p *parser) fail(at hcl.Range, format string, args ...any) {
	p.diags = append(p.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Detail: fmt.Sprintf(format, args...), Subject: &at})
}

// shape lists the attributes and blocks that a block may have.
type shape struct {
	required []string
	optional []string
	blocks   []hcl.BlockHeaderSchema
}

// reader reads one block. Each method reads one attribute. A missing optional attribute
// gives the default. An invalid one gives a mistake and the default.
type reader struct {
	*parser
	content *hcl.BodyContent
	at      hcl.Range // the block's head
}

func (p *parser) read(body hcl.Body, at hcl.Range, s shape) reader {
	schema := &hcl.BodySchema{Blocks: s.blocks}
	for _, name := range s.required {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: name, Required: true})
	}
	for _, name := range s.optional {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: name})
	}
	content, diags := body.Content(schema)
	p.diags = append(p.diags, diags...)
	return reader{parser: p, content: content, at: at}
}

// rangeOf returns the position of an attribute's value, or of the block's head.
func (r reader) rangeOf(name string) hcl.Range {
	if a := r.content.Attributes[name]; a != nil {
		return a.Expr.Range()
	}
	return r.at
}

func (r reader) has(name string) bool { return r.content.Attributes[name] != nil }

func (r reader) value(name string, want cty.Type) (cty.Value, bool) {
	a := r.content.Attributes[name]
	if a == nil {
		return cty.NilVal, false
	}
	v, diags := a.Expr.Value(nil)
	if diags.HasErrors() {
		r.parser.diags = append(r.parser.diags, diags...)
		return cty.NilVal, false
	}
	if v.IsNull() || !v.IsWhollyKnown() || v.Type() != want {
		r.fail(a.Expr.Range(), "%s takes %s", name, typeName(want))
		return cty.NilVal, false
	}
	return v, true
}

func typeName(t cty.Type) string {
	switch {
	case t == cty.String:
		return "a string in quotes"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	}
	return `a list of strings: ["...", "..."]`
}

func (r reader) text(name, missing string) string {
	if v, ok := r.value(name, cty.String); ok {
		return v.AsString()
	}
	return missing
}

func (r reader) boolean(name string) bool {
	v, ok := r.value(name, cty.Bool)
	return ok && v.True()
}

// element is one string of a list, with its position.
type element struct {
	text string
	at   hcl.Range
}

// elements reads a list of strings. Each keeps its position, so that a mistake points
// at the invalid one.
func (r reader) elements(name string) []element {
	a := r.content.Attributes[name]
	if a == nil {
		return nil
	}
	list, diags := hcl.ExprList(a.Expr)
	if diags.HasErrors() {
		r.fail(a.Expr.Range(), "%s takes %s", name, typeName(cty.List(cty.String)))
		return nil
	}
	out := make([]element, 0, len(list))
	for _, e := range list {
		v, diags := e.Value(nil)
		if diags.HasErrors() {
			r.parser.diags = append(r.parser.diags, diags...)
			continue
		}
		if v.IsNull() || v.Type() != cty.String {
			r.fail(e.Range(), "%s takes %s", name, typeName(cty.List(cty.String)))
			continue
		}
		out = append(out, element{v.AsString(), e.Range()})
	}
	return out
}

// table reads a map of strings.
func (r reader) table(name string) map[string]string {
	a := r.content.Attributes[name]
	if a == nil {
		return nil
	}
	pairs, diags := hcl.ExprMap(a.Expr)
	if diags.HasErrors() {
		r.fail(a.Expr.Range(), `%s takes a map of strings, such as { BR = "5.40" }`, name)
		return nil
	}
	out := make(map[string]string, len(pairs))
	for _, p := range pairs {
		key, kd := p.Key.Value(nil)
		value, vd := p.Value.Value(nil)
		if kd.HasErrors() || vd.HasErrors() || key.IsNull() || value.IsNull() || key.Type() != cty.String || value.Type() != cty.String {
			r.fail(p.Value.Range(), "%s takes a map of strings", name)
			continue
		}
		out[key.AsString()] = value.AsString()
	}
	return out
}

func (r reader) texts(name string, missing []string) []string {
	if !r.has(name) {
		return missing
	}
	var out []string
	for _, e := range r.elements(name) {
		out = append(out, e.text)
	}
	return out
}

func (r reader) integer(name string, missing, low, high int) int {
	v, ok := r.value(name, cty.Number)
	if !ok {
		return missing
	}
	f, _ := v.AsBigFloat().Float64()
	if f != math.Trunc(f) || f < float64(low) || f > float64(high) {
		r.fail(r.rangeOf(name), "%s takes a whole number from %d to %d", name, low, high)
		return missing
	}
	return int(f)
}

func (r reader) oneOf(name, missing string, allowed ...string) string {
	s := r.text(name, missing)
	if !slices.Contains(allowed, s) {
		r.fail(r.rangeOf(name), "%s is %q; it takes %s%s", name, s, orList(allowed), didYouMean(s, allowed))
		return missing
	}
	return s
}

func (r reader) duration(name string, missing, low, high time.Duration) time.Duration {
	s := r.text(name, "")
	if s == "" && !r.has(name) {
		return missing
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		r.fail(r.rangeOf(name), `%s is %q; it takes a duration such as "20s" or "500ms"`, name, s)
		return missing
	}
	if d < low || d > high {
		r.fail(r.rangeOf(name), "%s is %s; it takes %s to %s", name, d, low, high)
		return missing
	}
	return d
}

// scaled reads a number with a unit. units maps the units to factors.
func (r reader) scaled(name string, missing uint64, example string, units map[string]float64) uint64 {
	s := r.text(name, "")
	if s == "" && !r.has(name) {
		return missing
	}
	n, ok := scale(s, units)
	if !ok {
		r.fail(r.rangeOf(name), "%s is %q; it takes a number with a unit, such as %q", name, s, example)
		return missing
	}
	return n
}

// scale multiplies a number by its unit's factor.
func scale(s string, units map[string]float64) (uint64, bool) {
	i := strings.IndexFunc(s, func(c rune) bool { return c != '.' && (c < '0' || c > '9') })
	if i <= 0 {
		return 0, false
	}
	n, err := strconv.ParseFloat(s[:i], 64)
	factor, ok := units[strings.TrimSpace(s[i:])]
	if err != nil || !ok || n*factor >= 1<<62 {
		return 0, false
	}
	return uint64(n * factor), true
}

func rates() map[string]float64 {
	return map[string]float64{"bps": 1, "kbps": 1e3, "Kbps": 1e3, "Mbps": 1e6, "Gbps": 1e9, "Tbps": 1e12}
}

// ParseRate reads bits per second in the form of the configuration ("10Gbps").
func ParseRate(s string) (bitsPerSecond uint64, err error) {
	n, ok := scale(s, rates())
	if !ok {
		return 0, fmt.Errorf("%q is no rate; it takes a number with a unit, such as 10Gbps", s)
	}
	return n, nil
}

// rate reads bits per second ("10Gbps").
func (r reader) rate(name string) uint64 { return r.scaled(name, 0, "10Gbps", rates()) }

func sizes() map[string]float64 {
	return map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
}

// ParseSize reads bytes in the form of the configuration ("64MiB").
func ParseSize(s string) (bytes uint64, err error) {
	n, ok := scale(s, sizes())
	if !ok {
		return 0, fmt.Errorf("%q is no size; it takes a number with a unit, such as 64MiB", s)
	}
	return n, nil
}

// size reads bytes ("256MiB").
func (r reader) size(name string, missing uint64) uint64 {
	return r.scaled(name, missing, "256MiB", sizes())
}

func (r reader) addresses(name string) []netip.Addr {
	var out []netip.Addr
	for _, e := range r.elements(name) {
		a, err := netip.ParseAddr(e.text)
		if err != nil || a.Zone() != "" {
			r.fail(e.at, "%q is no IP address", e.text)
			continue
		}
		out = append(out, a.Unmap())
	}
	return out
}

// addrPort reads an address with a port ("203.0.113.10:8080"). It returns the zero
// value when there is none.
func (r reader) addrPort(name string) netip.AddrPort {
	s := r.text(name, "")
	if s == "" && !r.has(name) {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 {
		r.fail(r.rangeOf(name), `%s is %q; it takes an address with a port, such as "203.0.113.10:8080"`, name, s)
	}
	return a
}

// tags reads an IPv6 /64.
func (r reader) tags(name string) netip.Prefix {
	s := r.text(name, "")
	if s == "" && !r.has(name) {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() || p.Bits() != 64 || p != p.Masked() {
		r.fail(r.rangeOf(name), `%s is %q; it takes an IPv6 /64 such as "2001:db8:5:1::/64"`, name, s)
		return netip.Prefix{}
	}
	return p
}

// listen checks a "host:port" to listen on.
func (r reader) listen(name, s string) {
	host, port, err := net.SplitHostPort(s)
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 1<<16-1 {
		r.fail(r.rangeOf(name), `%q is no address to listen on; it takes "IP:port" or ":port"`, s)
	}
}

func (r reader) places(name string) perto.Place {
	if !r.has(name) {
		return perto.Place{}
	}
	s := r.text(name, "")
	if s == "" {
		return perto.Place{}
	}
	place, err := r.place(s)
	if err != nil {
		r.fail(r.rangeOf(name), "%s: %v", name, err)
	}
	return place
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// didYouMean returns a hint when a word is similar to a known one.
func didYouMean(word string, known []string) string {
	best, ok := Closest(word, known)
	if !ok {
		return ""
	}
	return fmt.Sprintf(". Did you mean %q?", best)
}

// Closest returns the known word that is most similar to a misspelt one.
func Closest(word string, known []string) (best string, ok bool) {
	distance := 3
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < distance && d < len(k) {
			best, distance, ok = k, d, true
		}
	}
	return best, ok
}

// editDistance returns the Levenshtein distance.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
