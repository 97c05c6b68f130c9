package mapping

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"perto"
	"perto/geodata"
	"perto/replicas"
)

// learnedWorld is a map of four PoPs on the embedded world map.
func learnedWorld(t testing.TB) *Map {
	t.Helper()
	sites := []replicas.Site{
		{Name: "gru", Place: perto.Place{Name: "São Paulo", Country: "BR", Lat: -23.55, Lon: -46.64}},
		{Name: "lhr", Place: perto.Place{Name: "London", Country: "GB", Lat: 51.5, Lon: -.13}},
		{Name: "sin", Place: perto.Place{Name: "Singapore", Country: "SG", Lat: 1.29, Lon: 103.85}},
		{Name: "iad", Place: perto.Place{Name: "Ashburn", Country: "US", Lat: 39.04, Lon: -77.49}},
	}
	m, err := NewMap(world(t), sites, &Policy{Service: "shop.cdn.example", Steps: []Step{StepUp, StepNearest}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var (
	office  = netip.MustParseAddr("25.32.0.53")      // a resolver in London
	jakarta = netip.MustParsePrefix("39.208.0.0/12") // its clients
	lyon    = netip.MustParsePrefix("82.248.0.0/14") // Paris
)

// nth returns an address of the n-th /24 of a network.
func nth(p netip.Prefix, n int) netip.Addr {
	b := p.Addr().As4()
	b[1] += byte(n >> 8)
	b[2] += byte(n)
	b[3] = 7
	return netip.AddrFrom4(b)
}

// vote adds clients of n blocks of a network.
func vote(m *Map, l *Learner, now time.Time, resolver netip.Addr, p netip.Prefix, n int) (counted int) {
	for i := range n {
		if c := nth(p, i); l.Add(now, resolver, c, m.Geo.Lookup(c)) {
			counted++
		}
	}
	return counted
}

func (m *Map) firstOf(resolver netip.Addr) string {
	return string(m.Sites[m.classes[m.Locate(resolver, Subnet{}).Class].rank[0].site].Name)
}

// TestLearnerMovesAnOffice: an office in Jakarta with a resolver in London gets Singapore
// after enough clients, and London again when its clients are there. Queries with a client
// subnet do not change.
func TestLearnerMovesAnOffice(t *testing.T) {
	m, l := learnedWorld(t), NewLearner(LearnerConfig{})
	now := time.Unix(1_800_000_000, 0)
	learn := func(prev *Learned) (*Learned, *Map) {
		t.Helper()
		x, err := m.Learn(l, now, prev)
		if err != nil {
			t.Fatal(err)
		}
		return x, m.With(x)
	}
	vote(m, l, now, office, jakarta, learnedBlocks-1)
	if x, with := learn(nil); len(x.Groups) != 0 || with.firstOf(office) != "lhr" {
		t.Errorf("with little evidence: %+v, %s", x.Groups, with.firstOf(office))
	}
	vote(m, l, now, office, jakarta, 16)
	x, with := learn(nil)
	if len(x.Groups) != 1 {
		t.Fatalf("got %+v", x.Groups)
	}
	g := x.Groups[0]
	if !g.Used || g.Geo != "lhr" || g.Best != "sin" || g.Group.String() != "25.32.0.0/24" || g.Blocks < 12 || g.BestRTT >= g.GeoRTT || g.Regret > perto.Millis(time.Millisecond) {
		t.Errorf("got %+v", g)
	}
	if got := with.firstOf(office); got != "sin" {
		t.Errorf("the office is served by %s", got)
	}
	if at := with.Locate(office, Subnet{Addr: netip.MustParseAddr("25.64.0.0"), Bits: 24}); at.Learned || with.Sites[with.classes[at.Class].rank[0].site].Name != "lhr" {
		t.Errorf("a client subnet: got %+v", at)
	}
	if got := with.firstOf(netip.MustParseAddr("25.33.0.53")); got != "lhr" {
		t.Errorf("another resolver in London is served by %s", got)
	}
	// The office moves to Paris. Its ranking stays for ten minutes, and then follows.
	now = now.Add(time.Hour)
	for hour := range 200 {
		vote(m, l, now.Add(time.Duration(hour)*time.Hour), office, lyon, 40)
	}
	now = now.Add(200 * time.Hour)
	x, with = learn(x)
	if with.firstOf(office) != "lhr" || x.Groups[0].Used {
		t.Errorf("after the move: %+v, %s", x.Groups, with.firstOf(office))
	}
}

// TestLearnedRankingIsHeld: noise around the threshold changes a group at most once in
// ten minutes.
func TestLearnedRankingIsHeld(t *testing.T) {
	m := learnedWorld(t)
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(1_800_000_000, 0)
	var prev *Learned
	var changed []time.Time
	used := false
	for range 400 { // each round has other clients, so the estimate jumps
		l := NewLearner(LearnerConfig{})
		vote(m, l, now, office, jakarta, 8+r.IntN(8))
		vote(m, l, now, office, lyon, r.IntN(200))
		x, err := m.Learn(l, now, prev)
		if err != nil {
			t.Fatal(err)
		}
		if x.Groups[0].Used != used {
			used = !used
			changed = append(changed, now)
		}
		prev = x
		now = now.Add(30 * time.Second)
	}
	if len(changed) < 2 {
		t.Fatalf("the noise changed nothing: %v", changed)
	}
	for i := 1; i < len(changed); i++ {
		if d := changed[i].Sub(changed[i-1]); d < learnedHold {
			t.Errorf("changes %s apart", d)
		}
	}
}

// TestVotesAreLimited: a client block has one vote an hour, so a client that votes a
// million times weighs as much as its neighbour, and is no evidence alone.
func TestVotesAreLimited(t *testing.T) {
	m, l := learnedWorld(t), NewLearner(LearnerConfig{})
	now := time.Unix(1_800_000_000, 0)
	client := nth(jakarta, 0)
	counted := 0
	for i := range 1_000_000 {
		if l.Add(now.Add(time.Duration(i)*time.Microsecond), office, client, m.Geo.Lookup(client)) {
			counted++
		}
	}
	if counted != 1 {
		t.Errorf("%d votes counted", counted)
	}
	for hour := range 100 {
		vote(m, l, now.Add(time.Duration(hour)*time.Hour), office, jakarta, 1)
	}
	if x, err := m.Learn(l, now.Add(100*time.Hour), nil); err != nil || len(x.Groups) != 0 {
		t.Errorf("one client is evidence: %+v, %v", x, err)
	}
	// Liars of one block move a group with honest clients no more than their share.
	vote(m, l, now.Add(100*time.Hour), office, lyon, 30)
	if x, err := m.Learn(l, now.Add(100*time.Hour), nil); err != nil || len(x.Groups) != 1 || x.Groups[0].Blocks < 12 {
		t.Errorf("got %+v, %v", x, err)
	}
	for _, bad := range []netip.Addr{{}, netip.MustParseAddr("10.0.0.1")} {
		if l.Add(now, bad, client, 0) {
			t.Errorf("%s: a vote without a place counted", bad)
		}
	}
}

// TestSpaceSaving: with more cells than places, the frequent ones stay, and the total is
// exact.
func TestSpaceSaving(t *testing.T) {
	var c groupClients
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 20_000 {
		cell := geodata.Cell(1 + i%10) // ten frequent cells have half of the votes
		if i%2 == 0 {
			cell = geodata.Cell(100 + r.IntN(5000))
		}
		c.add(cell, 1)
	}
	if c.total != 20_000 {
		t.Errorf("the total is %f", c.total)
	}
	found := 0
	for i := range c.used {
		if c.cells[i] <= 10 {
			found++
			if w := c.weights[i]; w < 1000 || w > 2500 {
				t.Errorf("cell %d has weight %f", c.cells[i], w)
			}
		}
	}
	if found != 5 { // odd numbers only
		t.Errorf("%d frequent cells are kept", found)
	}
}

func TestDistinctEstimates(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{1, 7, 8, 16, 100, 10_000} {
		var d distinct
		values := make([]uint32, n)
		for i := range values {
			values[i] = r.Uint32()
		}
		for range 3 {
			for _, v := range values {
				d.add(v)
			}
		}
		got := d.count()
		if n <= blocksKept && got != n || got < n/3 || got > 3*n {
			t.Errorf("%d values: estimated %d", n, got)
		}
	}
}

// TestDecay: votes of two half-lives ago weigh a quarter, also after the weights are
// divided.
func TestDecay(t *testing.T) {
	l := NewLearner(LearnerConfig{HalfLife: time.Hour})
	now := time.Unix(1_800_000_000, 0)
	for range 40 {
		l.Add(now, office, nth(jakarta, 0), 5)
		now = now.Add(time.Hour)
	}
	l.each(func(_ Group, _ int, c *groupClients) {
		if c.used != 1 {
			t.Fatalf("%d cells", c.used)
		}
		age := float64(now.Add(-time.Hour).Sub(l.start)) / float64(l.halfLife)
		if got := float64(c.total) / math.Exp2(age); got < 1.99 || got > 2.01 { // 1 + 1/2 + 1/4 + ...
			t.Errorf("the votes weigh %f newest votes, want 2", got)
		}
	})
}

func TestGroups(t *testing.T) {
	for addr, want := range map[string]string{"193.0.2.53": "193.0.2.0/24", "::ffff:193.0.2.53": "193.0.2.0/24", "2001:db8:1:2::3": "2001:db8:1::/48", "0.0.0.1": "0.0.0.0/24"} {
		if got := GroupOf(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	if GroupOf(netip.Addr{}) != 0 || Group(0).String() != "none" {
		t.Error("no address has a group")
	}
	table := newGroupTable(1000)
	for i := range 1000 {
		table.put(groupV4|Group(i*7919), uint16(i))
	}
	for i := range 1000 {
		if class, ok := table.get(groupV4 | Group(i*7919)); !ok || class != uint16(i) {
			t.Fatalf("group %d: got %d, %v", i, class, ok)
		}
	}
	if _, ok := table.get(groupV4 | 5); ok {
		t.Error("found a group that is not there")
	}
}

// TestLearnerFitsInMemory: 100,000 groups with full cells take at most 60 MB.
func TestLearnerFitsInMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := NewLearner(LearnerConfig{})
	now := time.Unix(1_800_000_000, 0)
	for i := range defaultGroups + 1000 {
		resolver := netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 53})
		l.Add(now, resolver, nth(jakarta, i%4000), geodata.Cell(1+i%9000))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := float64(after.HeapAlloc-before.HeapAlloc) / 1e6; got > 60 {
		t.Errorf("%d groups take %.0f MB", l.Groups(), got)
	} else {
		t.Logf("%d groups take %.0f MB", l.Groups(), got)
	}
	if l.Groups() != defaultGroups || l.full < 900 || l.full > 1000 { // the filter of votes drops a few
		t.Errorf("%d groups, %d evicted", l.Groups(), l.full)
	}
	runtime.KeepAlive(l)
}

// BenchmarkLocateLearned compares a query without a client subnet with and without learned
// groups.
func BenchmarkLocateLearned(b *testing.B) {
	m := learnedWorld(b)
	l := NewLearner(LearnerConfig{})
	now := time.Unix(1_800_000_000, 0)
	for i := range 20_000 {
		resolver := netip.AddrFrom4([4]byte{25, byte(i >> 8), byte(i), 53})
		vote(m, l, now, resolver, jakarta, learnedBlocks)
	}
	x, err := m.Learn(l, now, nil)
	if err != nil {
		b.Fatal(err)
	}
	resolvers := make([]netip.Addr, 4096)
	r := rand.New(rand.NewPCG(7, 8))
	for i := range resolvers {
		resolvers[i] = netip.AddrFrom4([4]byte{25, byte(r.IntN(78)), byte(r.IntN(256)), 53})
	}
	for name, m := range map[string]*Map{"geo": m, "learned": m.With(x)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				m.Locate(resolvers[i&4095], Subnet{})
				i++
			}
		})
	}
	b.Logf("%d groups", len(x.Groups))
}
