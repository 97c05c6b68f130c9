package mapping

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"perto"
	"perto/geodata"
	"perto/replicas"
)

var worldOnce = sync.OnceValues(geodata.World)

// world decodes the embedded map once for all tests of the package.
func world(t testing.TB) *geodata.Map {
	t.Helper()
	m, err := worldOnce()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// script runs one testdata/*.test file, in a small language for tests of mapping.
//
//	place PREFIX LAT,LON CC              set the place of a network
//	site NAME LAT,LON [weight=N]         a PoP
//	replica NAME SITE ADDR,ADDR [k=v]    state=, load=, weight=, capacity=
//	policy STEP...                       the chain
//	fence NAME CC,CC SITE,SITE
//	answers N | alldown WORD | ttl MAX MIN | pops SITE,...
//	set REPLICA [k=v]                    change the state, decide again
//	ask ADDR [ecs=PREFIX] [AAAA] want SITE NAME,... [scope=N] [ttl=D]
//	ask ADDR ... want none
type script struct {
	t         *testing.T
	base      *geodata.Map
	overrides []geodata.Override
	sites     []replicas.Site
	fleet     replicas.Fleet
	policy    Policy
	m         *Map
	answers   *Answers
	dirty     bool
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.test")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %v, error %v", files, err)
	}
	base := world(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".test"), func(t *testing.T) {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			steps, _ := ParseSteps([]string{"up", "fence", "nearest", "shed", "weight"})
			s := &script{t: t, base: base, policy: Policy{Service: "shop.cdn.example", Steps: steps, Answers: 2, TTL: 20 * time.Second, TTLMin: 5 * time.Second}}
			lines := bufio.NewScanner(f)
			for n := 1; lines.Scan(); n++ {
				line, _, _ := strings.Cut(lines.Text(), "#")
				if words := strings.Fields(line); len(words) > 0 {
					if err := s.do(words); err != nil {
						t.Fatalf("%s:%d: %v", file, n, err)
					}
				}
			}
		})
	}
}

func (s *script) do(w []string) error {
	switch w[0] {
	case "place":
		p := point(w[2])
		p.Country = w[3]
		s.overrides = append(s.overrides, geodata.Override{Prefix: netip.MustParsePrefix(w[1]), Place: p})
	case "site":
		site := replicas.Site{Name: perto.PoP(w[1]), Place: point(w[2])}
		if v, ok := option(w, "weight"); ok {
			n, _ := strconv.Atoi(v)
			site.Weight = uint16(n)
		}
		s.sites = append(s.sites, site)
		slices.SortFunc(s.sites, func(a, b replicas.Site) int { return strings.Compare(string(a.Name), string(b.Name)) })
	case "replica":
		m := replicas.Member{Declared: replicas.Declared{Name: perto.Replica(w[1]), PoP: perto.PoP(w[2])}}
		for a := range strings.SplitSeq(w[3], ",") {
			m.Addresses = append(m.Addresses, netip.MustParseAddr(a))
		}
		s.fleet.Members = append(s.fleet.Members, m)
		return s.set(&s.fleet.Members[len(s.fleet.Members)-1], w)
	case "set":
		m := s.fleet.Member(perto.Replica(w[1]))
		if m == nil {
			return fmt.Errorf("no replica %s", w[1])
		}
		s.fleet.Members = slices.Clone(s.fleet.Members) // a Fleet is immutable
		return s.set(s.fleet.Member(perto.Replica(w[1])), w)
	case "policy":
		steps, err := ParseSteps(w[1:])
		s.policy.Steps = steps
		return err
	case "fence":
		f := Fence{Name: w[1], Countries: strings.Split(w[2], ",")}
		for p := range strings.SplitSeq(w[3], ",") {
			f.PoPs = append(f.PoPs, perto.PoP(p))
		}
		s.policy.Fences = append(s.policy.Fences, f)
	case "answers":
		s.policy.Answers, _ = strconv.Atoi(w[1])
	case "alldown":
		a, err := ParseAllDown(w[1])
		s.policy.AllDown = a
		return err
	case "pops":
		for p := range strings.SplitSeq(w[1], ",") {
			s.policy.PoPs = append(s.policy.PoPs, perto.PoP(p))
		}
	case "ttl":
		s.policy.TTL, _ = time.ParseDuration(w[1])
		s.policy.TTLMin, _ = time.ParseDuration(w[2])
	case "ask":
		return s.ask(w)
	default:
		return fmt.Errorf("unknown word %q", w[0])
	}
	return nil
}

func (s *script) set(m *replicas.Member, w []string) error {
	s.dirty = true
	if v, ok := option(w, "state"); ok {
		states := []replicas.State{replicas.StateUp, replicas.StateUnknown, replicas.StateSuspect, replicas.StateDraining, replicas.StateDown}
		i := slices.IndexFunc(states, func(x replicas.State) bool { return x.String() == v })
		if i < 0 {
			return fmt.Errorf("unknown state %q", v)
		}
		m.State = states[i]
	}
	if v, ok := option(w, "load"); ok {
		m.Load, _ = strconv.ParseFloat(v, 64)
	}
	if v, ok := option(w, "weight"); ok {
		n, _ := strconv.Atoi(v)
		m.Weight = uint16(n)
	}
	if v, ok := option(w, "capacity"); ok {
		m.Capacity, _ = strconv.ParseUint(v, 10, 64)
	}
	return nil
}

func (s *script) ask(w []string) error {
	if s.m == nil {
		geo, err := s.base.WithOverrides(s.overrides)
		if err != nil {
			return err
		}
		s.fleet.Sites = s.sites
		if s.m, err = NewMap(geo, s.sites, &s.policy); err != nil {
			return err
		}
		s.dirty = true
	}
	if s.dirty {
		fleet := s.fleet
		s.answers = Decide(s.m, &s.policy, &fleet, s.answers)
		if whole := Decide(s.m, &s.policy, &fleet, nil); !s.policy.lasting() && !sameAnswers(s.answers, whole) {
			return fmt.Errorf("deciding only what changed gives something else than deciding everything")
		}
		s.dirty = false
	}
	var ecs Subnet
	if v, ok := option(w, "ecs"); ok {
		p := netip.MustParsePrefix(v)
		ecs = Subnet{Addr: p.Addr(), Bits: uint8(p.Bits())}
	}
	family := IPv4
	if slices.Contains(w, "AAAA") {
		family = IPv6
	}
	e := s.answers.Explain(netip.MustParseAddr(w[1]), ecs, family)
	want := w[slices.Index(w, "want")+1:]
	got := "none"
	if e.Answer != nil {
		var names []string
		for _, r := range e.Answer.Replicas {
			names = append(names, string(r))
		}
		got = fmt.Sprintf("%s %s", e.Answer.PoP, strings.Join(names, ","))
	}
	words := want[:1]
	if want[0] != "none" {
		words = want[:2]
	}
	if got != strings.Join(words, " ") {
		return fmt.Errorf("ask %v: got %s, want %v (%s)", w[1:], got, words, e.Why)
	}
	if v, ok := option(want, "scope"); ok && v != fmt.Sprint(e.Scope) {
		return fmt.Errorf("ask %v: got scope %d, want %s", w[1:], e.Scope, v)
	}
	if v, ok := option(want, "ttl"); ok && v != e.Answer.TTL.String() {
		return fmt.Errorf("ask %v: got TTL %s, want %s", w[1:], e.Answer.TTL, v)
	}
	if err := s.checkChosen(e); err != nil {
		return fmt.Errorf("ask %v: %w", w[1:], err)
	}
	if e.Why == "" || len(e.Candidates) != len(s.m.Sites) {
		return fmt.Errorf("the explanation is not whole: %+v", e)
	}
	return nil
}

// checkChosen compares the PoPs that are marked as chosen with those of the answer.
func (s *script) checkChosen(e *Explanation) error {
	var want, got []string
	if e.Answer != nil {
		for _, r := range e.Answer.Replicas {
			want = append(want, string(s.fleet.Member(r).PoP))
		}
	}
	for _, c := range e.Candidates {
		if c.Chosen != strings.HasPrefix(c.Verdict, "chosen") {
			return fmt.Errorf("%s is chosen: %v, but its verdict is %q", c.PoP, c.Chosen, c.Verdict)
		}
		if c.Chosen {
			got = append(got, string(c.PoP))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		return fmt.Errorf("%v are marked as chosen, want %v", got, want)
	}
	return nil
}

// lasting reports whether answers depend on the previous ones.
func (p *Policy) lasting() bool { return p.AllDown == AllDownLast }

func sameAnswers(a, b *Answers) bool {
	for f := range families {
		for c := range a.leaves[f] {
			for slot := range uint32(slotCount) {
				x, y := a.Choose(f, uint16(c), slot), b.Choose(f, uint16(c), slot)
				if (x < 0) != (y < 0) || x >= 0 && (!slices.Equal(a.Sets[x].Addrs, b.Sets[y].Addrs) || a.Sets[x].TTL != b.Sets[y].TTL) {
					return false
				}
			}
		}
	}
	return true
}

func point(s string) perto.Place {
	lat, lon, _ := strings.Cut(s, ",")
	var p perto.Place
	p.Lat, _ = strconv.ParseFloat(lat, 64)
	p.Lon, _ = strconv.ParseFloat(lon, 64)
	return p
}

func option(w []string, name string) (string, bool) {
	for _, x := range w {
		if v, ok := strings.CutPrefix(x, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

func TestParseStepsRefuses(t *testing.T) {
	tests := []struct{ chain, want string }{
		{"up nearest weight", ""},
		{"nearest", ""},
		{"up fence", "no rank"},
		{"nearest up", "is too late"},
		{"shed nearest", "needs a rank"},
		{"up up nearest", "is given twice"},
		{"up closest", "unknown policy step"},
	}
	for _, tt := range tests {
		_, err := ParseSteps(strings.Fields(tt.chain))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.chain, err, tt.want)
		}
	}
}

// tenSites are the PoPs of the demo world.
func tenSites() []replicas.Site {
	var out []replicas.Site
	for _, s := range []string{"bom 19.07,72.88", "fra 50.11,8.68", "gru -23.55,-46.63", "iad 39.04,-77.49", "jnb -26.2,28.04",
		"lhr 51.51,-0.13", "nrt 35.69,139.69", "sin 1.35,103.82", "sjc 37.34,-121.89", "syd -33.87,151.21"} {
		name, at, _ := strings.Cut(s, " ")
		out = append(out, replicas.Site{Name: perto.PoP(name), Place: point(at)})
	}
	return out
}

func fleetOf(sites []replicas.Site, edges int) *replicas.Fleet {
	f := &replicas.Fleet{Sites: sites}
	for i, s := range sites {
		for e := range edges {
			f.Members = append(f.Members, replicas.Member{Declared: replicas.Declared{Name: perto.Replica(fmt.Sprintf("%s-%d", s.Name, e+1)), PoP: s.Name,
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, byte(i), byte(e)}), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i), 15: byte(e)})}}})
		}
	}
	return f
}

func standardPolicy() *Policy {
	steps, _ := ParseSteps([]string{"up", "fence", "nearest", "shed", "weight"})
	return &Policy{Service: "shop.cdn.example", Steps: steps, Answers: 2, TTL: 20 * time.Second, TTLMin: 5 * time.Second}
}

// TestMapSendsEveryCellToTheNearest compares the table with an independent great-circle
// computation. For each cell, the first PoP must be the nearest or in the nearest's
// band.
func TestMapSendsEveryCellToTheNearest(t *testing.T) {
	geo := world(t)
	p, sites := standardPolicy(), tenSites()
	m, err := NewMap(geo, sites, p)
	if err != nil {
		t.Fatal(err)
	}
	ranges := geo.Ranges4()
	checked := 0
	for i := 0; i < len(ranges); i += 37 {
		r := ranges[i]
		if r.Value == 0 {
			continue
		}
		addr := netip.AddrFrom4([4]byte{byte(r.Start >> 16), byte(r.Start >> 8), byte(r.Start), 1})
		place := geo.Place(r.Value)
		best := sites[0]
		for _, s := range sites {
			if place.DistanceKm(s.Place) < place.DistanceKm(best.Place) {
				best = s
			}
		}
		class, scope := m.lookup(addr)
		got := m.Sites[m.classes[class].rank[0].site]
		if got.Name != best.Name {
			t.Fatalf("%s in %s: got %s, nearest is %s", addr, place, got.Name, best.Name)
		}
		if scope > 24 {
			t.Fatalf("%s: scope /%d", addr, scope)
		}
		checked++
	}
	if checked < 10_000 {
		t.Errorf("checked only %d ranges", checked)
	}
}

// TestScopeHasOneClass checks a sample of addresses. Every address of a scope's block
// must have the class of the block. The next larger block must have more classes.
func TestScopeHasOneClass(t *testing.T) {
	m, err := NewMap(world(t), tenSites(), standardPolicy())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		x := uint32(i) * 2654435761 // spread over the address space
		addr := netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), 1})
		class, scope := m.lookup(addr)
		block, _ := addr.Prefix(int(scope))
		first := block.Addr().As4()
		base := uint32(first[0])<<16 | uint32(first[1])<<8 | uint32(first[2])
		size := uint32(1) << (24 - min(24, scope))
		uniform := func(base, size uint32) bool {
			for k := uint32(0); k < size; k += max(1, size/64) {
				key := base + k
				if c, _ := m.lookup(netip.AddrFrom4([4]byte{byte(key >> 16), byte(key >> 8), byte(key), 1})); c != class {
					return false
				}
			}
			return true
		}
		if !uniform(base, size) {
			t.Fatalf("%s: scope /%d holds several classes", addr, scope)
		}
		if other, otherScope := m.lookup(block.Addr()); other != class || otherScope != scope {
			t.Fatalf("%s and %s of one block: scopes /%d and /%d", addr, block.Addr(), scope, otherScope)
		}
	}
}

func TestLocateRules(t *testing.T) {
	m, err := NewMap(world(t), tenSites(), standardPolicy())
	if err != nil {
		t.Fatal(err)
	}
	resolver := netip.MustParseAddr("200.144.248.1")
	tests := []struct {
		name      string
		ecs       Subnet
		wantECS   bool
		wantScope func(uint8) bool
	}{
		{"no subnet", Subnet{}, false, func(s uint8) bool { return s == 0 }},
		{"opt-out", Subnet{Addr: netip.MustParseAddr("0.0.0.0")}, false, func(s uint8) bool { return s == 0 }},
		{"private", Subnet{Addr: netip.MustParseAddr("10.1.2.0"), Bits: 24}, false, func(s uint8) bool { return s == 24 }},
		{"short source", Subnet{Addr: netip.MustParseAddr("80.0.0.0"), Bits: 6}, true, func(s uint8) bool { return s <= 6 }},
		{"long source", Subnet{Addr: netip.MustParseAddr("80.0.0.1"), Bits: 32}, true, func(s uint8) bool { return s > 0 && s <= 24 }},
		{"IPv6", Subnet{Addr: netip.MustParseAddr("2003:1c0::"), Bits: 56}, true, func(s uint8) bool { return s > 0 && s <= 56 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := m.Locate(resolver, tt.ecs)
			if l.ByECS != tt.wantECS || !tt.wantScope(l.Scope) {
				t.Errorf("got %+v", l)
			}
		})
	}
	for _, plain := range []Subnet{{netip.MustParseAddr("200.5.7.0"), 24}, {netip.MustParseAddr("80.0.0.1"), 32}, {netip.MustParseAddr("10.1.2.0"), 24}, {netip.MustParseAddr("0.0.0.0"), 0}} {
		want := m.Locate(resolver, plain)
		want.Scope += 96
		got := m.Locate(resolver, Subnet{netip.AddrFrom16(plain.Addr.As16()), plain.Bits + 96})
		if got != want {
			t.Errorf("IPv4-mapped %v: got %+v, want %+v", plain, got, want)
		}
	}
	ecs := Subnet{Addr: netip.MustParseAddr("80.0.0.0"), Bits: 24}
	if n := testing.AllocsPerRun(100, func() { m.Locate(resolver, ecs) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// TestWeightsDivideClients draws many slots. PoPs of one band must get clients in proportion to
// their weights. A weight of 0 counts as 1 beside a declared one.
func TestWeightsDivideClients(t *testing.T) {
	for _, other := range []uint16{1, 0} {
		sites := []replicas.Site{{Name: "a", Place: point("50,8"), Weight: 3}, {Name: "b", Place: point("50,8.1"), Weight: other}}
		p := standardPolicy()
		p.Answers = 1
		m, err := NewMap(world(t), sites, p)
		if err != nil {
			t.Fatal(err)
		}
		a := Decide(m, p, fleetOf(sites, 1), nil)
		client := netip.MustParseAddr("91.28.0.1")
		class, _ := m.lookup(client)
		count := make(map[perto.PoP]int)
		for slot := range uint32(slotCount) {
			count[a.Sets[a.Choose(IPv4, class, slot)].PoP]++
		}
		if got := float64(count["a"]) / slotCount; got < 0.67 || got > 0.83 {
			t.Errorf("weight 3 beside %d got %.2f of the slots", other, got)
		}
		if why := a.Explain(client, Subnet{}, IPv4).Why; !strings.Contains(why, "divides its clients by weight") {
			t.Errorf("explained as %q", why)
		}
	}
}

// TestFlipKeepsOtherAnswers: a dead edge changes only the classes that name it.
func TestFlipKeepsOtherAnswers(t *testing.T) {
	sites, p := tenSites(), standardPolicy()
	m, err := NewMap(world(t), sites, p)
	if err != nil {
		t.Fatal(err)
	}
	before := fleetOf(sites, 2)
	a := Decide(m, p, before, nil)
	after := *before
	after.Members = slices.Clone(before.Members)
	for i := range after.Members {
		if after.Members[i].PoP == "gru" {
			after.Members[i].State = replicas.StateDown
		}
	}
	b := Decide(m, p, &after, a)
	if whole := Decide(m, p, &after, nil); !sameAnswers(b, whole) {
		t.Error("deciding only what changed gives something else than deciding everything")
	}
	changed := 0
	for c := range m.classes {
		x, y := a.Sets[a.Choose(IPv4, uint16(c), 0)], b.Sets[b.Choose(IPv4, uint16(c), 0)]
		if y.PoP == "gru" {
			t.Errorf("class %d still names gru", c)
		}
		if x.PoP != y.PoP {
			changed++
			if x.PoP != "gru" {
				t.Errorf("class %d moved from %s to %s without need", c, x.PoP, y.PoP)
			}
		}
	}
	if changed == 0 || changed == len(m.classes) {
		t.Errorf("%d of %d classes changed", changed, len(m.classes))
	}
}

func BenchmarkLocate(b *testing.B) {
	m, err := NewMap(world(b), tenSites(), standardPolicy())
	if err != nil {
		b.Fatal(err)
	}
	resolver := netip.MustParseAddr("200.144.248.1")
	b.ReportAllocs()
	var x uint32
	for b.Loop() {
		x = x*1664525 + 1013904223
		m.Locate(resolver, Subnet{Addr: netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), 0}), Bits: 24})
	}
}

// BenchmarkNewMap compiles maps of sites that lie as the cells do.
func BenchmarkNewMap(b *testing.B) {
	geo := world(b)
	for _, n := range []int{10, 200, 1000} {
		sites := make([]replicas.Site, n)
		for i := range sites {
			sites[i] = replicas.Site{Name: perto.PoP(fmt.Sprintf("p%04d", i)), Place: geo.Place(geodata.Cell(1 + i*(geo.NumCells()-1)/n))}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			var m *Map
			for b.Loop() {
				var err error
				if m, err = NewMap(geo, sites, standardPolicy()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(m.Classes()), "classes")
			b.ReportMetric(float64(geo.NumCells()-1), "cells")
		})
	}
}

// BenchmarkFlip measures a health flip: one edge of a thousand dies.
func BenchmarkFlip(b *testing.B) {
	var sites []replicas.Site
	for i := range 200 {
		sites = append(sites, replicas.Site{Name: perto.PoP(fmt.Sprintf("p%03d", i)), Place: perto.Place{Lat: float64(i*37%140) - 60, Lon: float64(i*83%360) - 180}})
	}
	p := standardPolicy()
	m, err := NewMap(world(b), sites, p)
	if err != nil {
		b.Fatal(err)
	}
	up := fleetOf(sites, 5)
	down := *up
	down.Members = slices.Clone(up.Members)
	down.Members[500].State = replicas.StateDown
	a := Decide(m, p, up, nil)
	b.ReportMetric(float64(m.Classes()), "classes")
	fleets := []*replicas.Fleet{&down, up}
	i := 0
	for b.Loop() {
		a = Decide(m, p, fleets[i%2], a)
		i++
	}
}

// TestRankingsReadTheSource compiles a map with a source in which the farthest site is
// the best. The classes, the class of unknown addresses and the explanation must follow
// it.
func TestRankingsReadTheSource(t *testing.T) {
	sites := tenSites()
	m, err := newMap(world(t), sites, standardPolicy(), func(sites []replicas.Site) RTT {
		prior := PriorRTT(sites)
		return func(row []time.Duration, from Clients) {
			prior(row, from)
			for i := range row {
				row[i] = 500*time.Millisecond - row[i]
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	a := Decide(m, standardPolicy(), fleetOf(sites, 1), nil)
	e := a.Explain(netip.MustParseAddr("200.144.248.1"), Subnet{}, IPv4) // São Paulo
	if e.Answer == nil || e.Answer.PoP != "nrt" || e.Candidates[0].RTT.Duration() > 250*time.Millisecond {
		t.Errorf("São Paulo gets %+v, want nrt; the first candidate is %+v", e.Answer, e.Candidates[0])
	}
	if first := sites[m.classes[unknownClass].rank[0].site].Name; first != "syd" {
		t.Errorf("unknown addresses get %s first, want syd", first)
	}
}
