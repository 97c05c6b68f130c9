package expect

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options are the differences between machines.
type Options struct {
	// Slack is the time that a busy machine may add to a bound. The tests of package
	// replicas check the exact bounds in virtual time.
	Slack time.Duration
}

// Run checks a world against a list, with one subtest for each expectation. A subtest
// ends its faults before it returns.
func Run(t *testing.T, l *List, b Backend, o Options) {
	r := &runner{Backend: b, world: b.World(), slack: o.Slack}
	for _, x := range l.Nearest {
		t.Run("nearest/"+x.About, func(t *testing.T) { r.nearest(t, x) })
	}
	for _, x := range l.Connections {
		t.Run("connections/"+x.About, func(t *testing.T) { r.connections(t, x) })
	}
	for _, x := range l.Delays {
		t.Run("delays/"+x.About, func(t *testing.T) { r.delays(t, x) })
	}
	for _, x := range l.Stored {
		t.Run("stored/"+x.About, func(t *testing.T) { r.stored(t, x) })
	}
	for _, x := range l.Private {
		t.Run("private/"+x.About, func(t *testing.T) { r.private(t, x) })
	}
	for i, x := range l.Deaths {
		t.Run("death/"+x.About, func(t *testing.T) { r.death(t, i, x) })
	}
	for _, x := range l.PoPsLost {
		t.Run("pop_lost/"+x.About, func(t *testing.T) { r.popLost(t, x) })
	}
	for _, x := range l.OriginsDown {
		t.Run("origin_down/"+x.About, func(t *testing.T) { r.originDown(t, x) })
	}
}

type runner struct {
	Backend
	world *World
	slack time.Duration
}

// forVantages runs a function concurrently for all vantages that fit accepts.
func (r *runner) forVantages(fit func(*Vantage) bool, do func(*Vantage)) {
	var wg sync.WaitGroup
	for i := range r.world.Vantages {
		if v := &r.world.Vantages[i]; fit(v) {
			wg.Go(func() { do(v) })
		}
	}
	wg.Wait()
}

func anyVantage(*Vantage) bool    { return true }
func nearVantage(v *Vantage) bool { return v.Near }

func (r *runner) nearest(t *testing.T, x Nearest) {
	family := map[string]int{"A": 4, "AAAA": 6}
	r.forVantages(anyVantage, func(v *Vantage) {
		want := r.world.nearest(v.Seen)
		for _, qtype := range x.Types {
			if !slices.Contains(r.world.Families, family[qtype]) {
				continue
			}
			addrs, err := r.Ask(t.Context(), Question{Vantage: v.Name, Name: x.Name, Type: qtype})
			if err != nil || len(addrs) == 0 {
				t.Errorf("%s, %s: addresses %v, error %v", v.Name, qtype, addrs, err)
			}
			for _, a := range addrs {
				if p := r.world.popOf(a); p == nil || !want[p.Name] {
					t.Errorf("%s in %s, seen in %s: %s is of %v, want one of %v", v.Name, v.Place, v.Seen, a, p, want)
				}
			}
		}
	})
}

func (r *runner) connections(t *testing.T, x Connections) {
	var mu sync.Mutex
	good, all := 0, 0
	r.forVantages(nearVantage, func(v *Vantage) {
		want := r.world.nearest(v.Place)
		for range x.Each {
			f, err := r.Fetch(t.Context(), v.Name, x.URL)
			if err != nil {
				t.Errorf("%s: %v", v.Name, err)
				return
			}
			p := r.world.popOf(f.Address)
			mu.Lock()
			if all++; p != nil && want[p.Name] {
				good++
			}
			mu.Unlock()
		}
	})
	t.Logf("%d of %d connections reached the nearest PoP", good, all)
	if all == 0 || float64(good) < x.Share*float64(all) {
		t.Errorf("%d of %d connections reached the nearest PoP, want %.0f %%", good, all, 100*x.Share)
	}
}

// delayPoPs is to how many PoPs delays are measured from each vantage.
const delayPoPs = 3

// delays measures until one connection takes the configured time. A busy machine can
// make connections slower, but never faster.
func (r *runner) delays(t *testing.T, x Delays) {
	const tries = 40
	offset := make(map[string]int) // so that all pairs are measured in turn
	for i, v := range r.world.Vantages {
		offset[v.Name] = i
	}
	r.forVantages(anyVantage, func(v *Vantage) {
		for k := range min(delayPoPs, len(r.world.PoPs)) {
			edge := r.world.PoPs[(offset[v.Name]+k)%len(r.world.PoPs)].Edges[0]
			for try := 1; ; try++ {
				f, err := r.Fetch(t.Context(), v.Name, fmt.Sprintf(x.URL, edge.Name))
				if err != nil {
					t.Errorf("%s: %v", v.Name, err)
					return
				}
				off := max(x.floor, time.Duration(x.Within*float64(f.Asked)))
				d := f.Connect - f.Asked
				if d < -off || d > off && try == tries {
					t.Errorf("%s to %s: connected in %v, asked for %v", v.Name, edge.Name, f.Connect, f.Asked)
				}
				if d <= off || try == tries {
					break
				}
			}
		}
	})
}

func (r *runner) stored(t *testing.T, x Stored) {
	v := r.vantageFor(t, 0)
	url := x.URL
	if strings.Contains(url, "%s") {
		url = fmt.Sprintf(url, v.Name)
	}
	// A PoP may have several edges, each with its own cache: fetch until one edge
	// responds for the second time.
	first := make(map[netip.Addr]*Reply)
	for {
		f, err := r.Fetch(t.Context(), v.Name, url)
		if err != nil {
			t.Fatal(err)
		}
		status := f.Header.Get("Cache-Status")
		if f.Status != 200 || len(f.Body) == 0 || f.Header.Get("Via") == "" || f.Header.Get("Server-Timing") == "" {
			t.Fatalf("got %d with %d bytes and %v", f.Status, len(f.Body), f.Header)
		}
		before := first[f.Address]
		if before == nil {
			if !strings.Contains(status, "fwd=uri-miss") {
				t.Fatalf("first fetch: Cache-Status %q, want a miss", status)
			}
			first[f.Address] = f
			continue
		}
		if !strings.Contains(status, "hit") || f.Header.Get("Age") == "" {
			t.Errorf("second fetch: Cache-Status %q, Age %q, want a hit", status, f.Header.Get("Age"))
		}
		if string(f.Body) != string(before.Body) {
			t.Error("the hit has another body than the miss")
		}
		if f.FirstByte >= before.FirstByte {
			t.Errorf("the hit's first byte took %v, the miss's %v", f.FirstByte, before.FirstByte)
		}
		return
	}
}

func (r *runner) private(t *testing.T, x Private) {
	v := r.vantageFor(t, 0)
	for range 4 {
		f, err := r.Fetch(t.Context(), v.Name, x.URL)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Header.Get("Cache-Status"); f.Status != 200 || strings.Contains(got, "hit") {
			t.Errorf("got %d with Cache-Status %q", f.Status, got)
		}
	}
}

// pairs returns the PoPs with a second edge, each with a vantage that it serves.
func (r *runner) pairs() (out []pair) {
	for i := range r.world.PoPs {
		p := &r.world.PoPs[i]
		if len(p.Edges) < 2 {
			continue
		}
		if v := r.servedBy(p); v != nil {
			out = append(out, pair{p, v})
		}
	}
	return out
}

type pair struct {
	pop     *PoP
	vantage *Vantage
}

// servedBy returns a vantage that only this PoP may serve.
func (r *runner) servedBy(p *PoP) *Vantage {
	for i := range r.world.Vantages {
		v := &r.world.Vantages[i]
		if near := r.world.nearest(v.Place); v.Near && len(near) == 1 && near[p.Name] {
			return v
		}
	}
	return nil
}

// vantageFor returns the n-th vantage that a PoP with two edges serves.
func (r *runner) vantageFor(t *testing.T, n int) *Vantage { return r.pairFor(t, n).vantage }

func (r *runner) pairFor(t *testing.T, n int) pair {
	t.Helper()
	all := r.pairs()
	if len(all) == 0 {
		t.Fatal("the world has no PoP with two edges and a vantage of its own")
	}
	return all[n%len(all)]
}

// names reports whether a server names an address of an edge for a vantage. When a
// server does not respond, the test fails and names returns false.
func (r *runner) names(t *testing.T, server string, v *Vantage, name string, edge *Edge) bool {
	t.Helper()
	addrs, err := r.Ask(t.Context(), Question{Server: server, Subnet: v.Subnet, Name: name, Type: "A"})
	if err != nil {
		t.Errorf("ask %s: %v", server, err)
	}
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return slices.Contains(edge.Addresses, a) })
}

// comeBack is how long a healed host may take to be named again. longest is the limit
// of every wait.
const (
	comeBack = 30 * time.Second
	longest  = 60 * time.Second
)

func (r *runner) death(t *testing.T, n int, x Death) {
	p := r.pairFor(t, n)
	edge := &p.pop.Edges[0]
	v := p.vantage
	if _, err := r.Fetch(t.Context(), v.Name, fmt.Sprintf(x.URL, 0)); err != nil { // its resolver has cached both edges now
		t.Fatal(err)
	}
	for _, s := range r.world.Servers {
		if !r.names(t, s.Name, v, x.Name, edge) {
			t.Fatalf("%s does not name %s before", s.Name, edge.Name)
		}
	}
	start := time.Now()
	if err := r.Do(t.Context(), edge.Name, x.Fault); err != nil {
		t.Fatal(err)
	}
	healed := false
	heal := func() {
		if !healed {
			healed = true
			if err := r.Do(context.WithoutCancel(t.Context()), edge.Name, Heal); err != nil {
				t.Error(err)
			}
		}
	}
	defer heal()
	var fetching sync.WaitGroup
	stop := make(chan struct{})
	fetched := 0
	fetching.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if f, err := r.Fetch(t.Context(), v.Name, fmt.Sprintf(x.URL, n)); err != nil || f.Status != 200 {
				t.Errorf("while %s was dead: %v, %v", edge.Name, f, err)
				return
			}
			fetched++
		}
	})
	var asking sync.WaitGroup
	for _, s := range r.world.Servers {
		asking.Go(func() { r.goneFrom(t, s.Name, v, x, edge, start) })
	}
	asking.Wait()
	close(stop)
	fetching.Wait()
	t.Logf("%d fetches meanwhile", fetched)
	heal()
	r.until(t, comeBack, edge.Name+" is named again", func() bool { return r.names(t, r.world.Servers[0].Name, v, x.Name, edge) })
}

// goneFrom waits until a server no longer names an edge that died at start.
func (r *runner) goneFrom(t *testing.T, server string, v *Vantage, x Death, edge *Edge, start time.Time) {
	limit := x.gone
	if x.Fault == Kill && r.world.KillsAreSilent {
		limit = x.goneSilent
	}
	for {
		// The query itself takes time: a query sent before the limit counts.
		asked := time.Since(start)
		if !r.names(t, server, v, x.Name, edge) {
			t.Logf("%s: gone from %s after %v", edge.Name, server, asked)
			return
		}
		if asked > limit+r.slack {
			t.Errorf("%s still names %s %v after the %s, want %v", server, edge.Name, asked, x.Fault, limit)
			return
		}
	}
}

// until checks repeatedly until a condition holds.
func (r *runner) until(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	start := time.Now()
	for {
		asked := time.Since(start)
		if ok() {
			return
		}
		if asked > limit {
			t.Fatalf("waited %v in vain until %s", asked, what)
		}
	}
}

func (r *runner) popLost(t *testing.T, x PoPLost) {
	pop, v := r.loseable(t)
	var servers []string
	for _, s := range r.world.Servers {
		if s.PoP != pop.Name {
			servers = append(servers, s.Name)
		}
	}
	anyEdge := func(server string) bool {
		return slices.ContainsFunc(pop.Edges, func(e Edge) bool { return r.names(t, server, v, x.Name, &e) })
	}
	if !anyEdge(servers[0]) {
		t.Fatalf("%s is not sent to %s before", v.Name, pop.Name)
	}
	start := time.Now()
	if err := r.Do(t.Context(), pop.Name, Cut); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Do(context.WithoutCancel(t.Context()), pop.Name, Heal); err != nil {
			t.Error(err)
		}
		r.until(t, comeBack, pop.Name+" is named again", func() bool { return anyEdge(servers[0]) })
	}()
	for _, s := range servers {
		r.until(t, longest, s+" names another PoP", func() bool { return !anyEdge(s) })
		if took := time.Since(start); took > x.gone+r.slack {
			t.Errorf("%s named %s for %v after it was cut off, want %v", s, pop.Name, took, x.gone)
		}
		addrs, err := r.Ask(t.Context(), Question{Server: s, Subnet: v.Subnet, Name: x.Name, Type: "A"})
		if err != nil || len(addrs) == 0 {
			t.Errorf("%s has no other PoP for %s: %v, %v", s, v.Name, addrs, err)
		}
	}
}

// loseable returns a PoP and a vantage that it serves. Without this PoP, an
// authoritative server and the origin must be left.
func (r *runner) loseable(t *testing.T) (*PoP, *Vantage) {
	t.Helper()
	for i := range r.world.PoPs {
		p := &r.world.PoPs[i]
		v := r.servedBy(p)
		if v == nil || slices.ContainsFunc(r.world.Servers, func(s Server) bool { return s.PoP == p.Name }) {
			continue
		}
		return p, v
	}
	t.Fatal("the world has no PoP without a name server")
	return nil, nil
}

func (r *runner) originDown(t *testing.T, x OriginDown) {
	v := r.vantageFor(t, 0)
	// Every edge that the vantage may reach must have stored it (see stored).
	r.until(t, longest, "the page is stored", func() bool { return r.hits(t, v, x.Stored, 4) })
	if err := r.Do(t.Context(), r.world.Origin, Kill); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Do(context.WithoutCancel(t.Context()), r.world.Origin, Heal); err != nil {
			t.Error(err)
		}
		r.until(t, comeBack, "the origin answers again", func() bool {
			f, err := r.Fetch(t.Context(), v.Name, x.Missing)
			return err == nil && f.Status == 200
		})
	}()
	if f, err := r.Fetch(t.Context(), v.Name, x.Stored); err != nil || f.Status != 200 {
		t.Errorf("stored object: %v, %v", f, err)
	}
	f, err := r.Fetch(t.Context(), v.Name, x.Missing)
	if err != nil {
		t.Fatal(err)
	}
	if f.Status != 502 && f.Status != 504 || !strings.Contains(string(f.Body), "origin") {
		t.Errorf("object that is not stored: got %d %.300q, want a 502 or 504 that names the origin", f.Status, f.Body)
	}
}

// hits reports whether n successive fetches are all hits.
func (r *runner) hits(t *testing.T, v *Vantage, url string, n int) bool {
	t.Helper()
	for range n {
		f, err := r.Fetch(t.Context(), v.Name, url)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(f.Header.Get("Cache-Status"), "hit") {
			return false
		}
	}
	return true
}
