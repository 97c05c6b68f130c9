package rfc9111

import (
	"slices"
	"time"

	"github.com/dunglas/httpsfv"

	"perto/internal/fields"
)

// ParseTargeted reads the CDN-Cache-Control field (RFC 9213), a dictionary of structured
// fields (RFC 9651). ok is false when the field is absent, empty or malformed, or when a
// directive has a value of the wrong type. Then the field must be ignored, and
// Cache-Control counts (RFC 9213, section 2.1).
//
// It allocates memory, so only fills may call it, and never a hit
// (docs/rationale.md#why-structured-fields-are-parsed-by-hand-on-the-hit-path).
func ParseTargeted(h fields.Header) (d Directives, ok bool) {
	var lines []string
	for line := range h.Values("cdn-cache-control") {
		lines = append(lines, string(line))
	}
	if len(lines) == 0 {
		return Directives{}, false
	}
	members, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(members.Names()) == 0 {
		return Directives{}, false
	}
	for _, name := range members.Names() {
		m, _ := members.Get(name)
		if !d.addTyped(name, m) {
			return Directives{}, false
		}
	}
	return d, true
}

// addTyped adds one directive. It returns false when the value has the wrong type.
func (d *Directives) addTyped(name string, m httpsfv.Member) bool {
	i := slices.IndexFunc(flagNames[:], func(f directive) bool { return f.name == name })
	if i < 0 {
		return true // an extension
	}
	item, ok := m.(httpsfv.Item)
	if !ok {
		return false // an inner list
	}
	f := &flagNames[i]
	switch v := item.Value.(type) {
	case int64:
		if f.at == nil || v < 0 {
			return false
		}
		*f.at(d) = min(time.Duration(v), maxDelta/time.Second) * time.Second
		d.Flags |= f.flag
	case bool:
		if f.at != nil {
			return false
		}
		if v {
			d.Flags |= f.flag
		}
	case string:
		if f.flag != NoCache && f.flag != Private {
			return false
		}
		for field := range fields.List([]byte(v)) {
			d.Withheld = append(d.Withheld, field)
		}
	default:
		return false
	}
	return true
}
