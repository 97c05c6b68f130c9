package zone

import (
	"bytes"
	"fmt"

	"github.com/miekg/dns"

	"perto/dnsserver/wire"
)

// manyNames is how many names a zone may lose at once without a warning.
const manyNames = 10

// Compare reports the risks of replacing one file of a zone by the next. Both must
// build. It returns an error when more than half of the names are gone and the serial
// did not grow. Such a file is probably truncated, or generated from an empty source. A
// higher serial confirms the change (docs/rationale.md).
func Compare(old, next Config) (warnings []string, err error) {
	if bytes.Equal(old.Data, next.Data) {
		return nil, nil
	}
	was, is := outlineOf(old), outlineOf(next)
	name := cmpName(next.Name)
	grew := is.serial != was.serial && is.serial-was.serial < 1<<31 // RFC 1982, section 3.2
	lost := 0
	for n := range was.names {
		if !is.names[n] {
			lost++
		}
	}
	if lost >= manyNames && 2*lost > len(was.names) {
		if !grew {
			return nil, fmt.Errorf("%s: the zone %s lost %d of %d names, and its serial %d is not higher than %d; set it above %d to confirm the change",
				next.File, name, lost, len(was.names), is.serial, was.serial, was.serial)
		}
		warnings = append(warnings, fmt.Sprintf("%s: the zone %s lost %d of %d names (serial %d, before %d)", next.File, name, lost, len(was.names), is.serial, was.serial))
	}
	switch {
	case is.serial == was.serial:
		warnings = append(warnings, fmt.Sprintf("%s: the zone %s changed and its serial %d did not; raise it, or secondaries keep the old zone", next.File, name, is.serial))
	case !grew:
		warnings = append(warnings, fmt.Sprintf("%s: the serial of the zone %s went back from %d to %d; set it above %d, or secondaries keep the old zone",
			next.File, name, was.serial, is.serial, was.serial))
	}
	return warnings, nil
}

// outline is the part of a zone file that Compare needs.
type outline struct {
	serial uint32
	names  map[string]bool // in lower-case wire form
}

func outlineOf(cfg Config) outline {
	o := outline{names: make(map[string]bool)}
	m := newMaster(cfg.Data, dns.Fqdn(cfg.Name))
	for {
		rrs, line, _ := m.next()
		if line == 0 {
			return o
		}
		for _, rr := range rrs {
			if soa, ok := rr.(*dns.SOA); ok {
				o.serial = soa.Serial
			}
			var buf [wire.MaxName]byte
			if packed, err := wire.PackName(rr.Header().Name); err == nil {
				o.names[string(wire.Lower(&buf, packed))] = true
			}
		}
	}
}
