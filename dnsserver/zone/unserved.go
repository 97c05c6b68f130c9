package zone

import (
	"fmt"

	"github.com/miekg/dns"
)

// unserved counts records that the server cannot serve.
type unserved struct {
	count int
	first string // the first one: name and type
	line  int
}

// unserved reports whether a record's type is not served, and counts it. Such zones
// must not load. A signed zone without its signatures is bogus for every validating
// resolver. Without DNAME, the names below it do not exist.
func (b *builder) unserved(key string, t uint16) bool {
	u := &b.signed
	switch t {
	case dns.TypeDNAME:
		u = &b.dnames
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY, dns.TypeSIG, dns.TypeNXT:
	default:
		return false
	}
	if u.count++; u.count == 1 {
		u.first, u.line = fmt.Sprintf("%s %s", text(key), dns.TypeToString[t]), b.line
	}
	return true
}

func (b *builder) reportUnserved() {
	if u := &b.signed; u.count > 0 {
		b.line = u.line
		b.fail("%s: the zone is signed (%d DNSSEC records) and this version does not serve signatures; "+
			"use the unsigned zone file, and remove the DS records in the parent zone first", u.first, u.count)
	}
	if u := &b.dnames; u.count > 0 {
		b.line = u.line
		b.fail("%s: this version does not serve DNAME records (%d in the zone); write a CNAME for each name below, or a wildcard one", u.first, u.count)
	}
	b.line = 0
}
