package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const shopURL = "http://www.shop.example/"

func at(t *testing.T, l *Lab, name string) *Vantage {
	t.Helper()
	v, err := l.Vantage(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func fetch(t *testing.T, v *Vantage, url string) *Fetched {
	t.Helper()
	f, err := v.Fetch(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestReloadIsAHit fetches a page twice in São Paulo, which has two edges with a cache
// each. The second reply is a hit.
func TestReloadIsAHit(t *testing.T) {
	v := at(t, sharedLab(t), "rio")
	fetch(t, v, shopURL+"product/2")
	if f := fetch(t, v, shopURL+"product/2"); !strings.Contains(f.Header.Get("Cache-Status"), "hit") || f.DNS != 0 {
		t.Errorf("got Cache-Status %q after %v of DNS, want a hit without asking again", f.Header.Get("Cache-Status"), f.DNS)
	}
}

// TestMissThenHit fetches one page twice. The second reply comes from the edge, and is
// faster by about the round trip to the origin.
func TestMissThenHit(t *testing.T) {
	l := sharedLab(t)
	v := at(t, l, "sydney")
	url := shopURL + "product/5"
	first, second := fetch(t, v, url), fetch(t, v, url)
	for _, f := range []*Fetched{first, second} {
		if f.Status != 200 || f.Server != "syd-1" || f.Bytes == 0 {
			t.Fatalf("got %v, want the page from syd-1", f)
		}
		for _, name := range []string{"Cache-Status", "Via", "Server-Timing"} {
			if f.Header.Get(name) == "" {
				t.Errorf("no %s in %v", name, f.Header)
			}
		}
	}
	if got := second.Header.Get("Cache-Status"); !strings.Contains(got, "hit") || second.Header.Get("Age") == "" {
		t.Errorf("second: got Cache-Status %q and Age %q, want a hit", got, second.Header.Get("Age"))
	}
	if got := first.Header.Get("Cache-Status"); !strings.Contains(got, "fwd=uri-miss") {
		t.Errorf("first: got Cache-Status %q, want a miss", got)
	}
	toOrigin := l.Internet.paths.RTT(l.Internet.Host("syd-1").End, l.Internet.Host("origin").End)
	if saved := (first.FirstByte - second.FirstByte).Duration(); saved < toOrigin {
		t.Errorf("the hit saved %v, want at least the %v to the origin (%v, %v)", saved, toOrigin, first, second)
	}
}

// crowded is the tolerance of times for a loaded machine and the race detector. The
// tests of package replicas check the exact bounds in virtual time.
const crowded = 1500 * time.Millisecond

// TestInvalidFaultsAreRefused checks that they also change nothing.
func TestInvalidFaultsAreRefused(t *testing.T) {
	l := sharedLab(t)
	for target, f := range map[string]Fault{"nowhere": Kill, "london": Kill, "fra-1": "tickle"} {
		if err := l.Do(t.Context(), target, f); err == nil {
			t.Errorf("%s %s did not fail", f, target)
		}
	}
}

// TestCurlThroughSOCKS runs the README's command: curl fetches from São Paulo.
func TestCurlThroughSOCKS(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed; ./scripts/test installs it")
	}
	l := sharedLab(t)
	byName, err := l.SOCKSDoor("")
	if err != nil {
		t.Fatal(err)
	}
	own, err := l.SOCKSDoor("tokyo")
	if err != nil {
		t.Fatal(err)
	}
	for proxy, want := range map[string]string{
		"socks5h://sao-paulo@" + byName.String(): "edge;desc=\"gru-",
		"socks5h://" + own.String():              "edge;desc=\"nrt-1",
	} {
		out, err := exec.CommandContext(t.Context(), curl, "-sS", "-i", "--max-time", "30", "--proxy", proxy, shopURL).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "The near shop") {
			t.Errorf("%s: error %v, want %q in\n%.600s", proxy, err, want, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), curl, "-sS", "--max-time", "30", "--proxy", "socks5h://atlantis@"+byName.String(), shopURL).CombinedOutput(); err == nil {
		t.Errorf("an unknown vantage got %s", out)
	}
}

// TestOwnSiteBehindTheCDN puts a site of the host behind the edges.
func TestOwnSiteBehindTheCDN(t *testing.T) {
	site := startSite(t, "my own site")
	l := startLab(t, func(c *Config) { c.Origin = site })
	v := at(t, l, "sydney")
	for _, want := range []string{"fwd=", "hit"} {
		f := fetch(t, v, shopURL)
		if string(f.Body) != "my own site" || !strings.Contains(f.Header.Get("Cache-Status"), want) {
			t.Errorf("got %q with Cache-Status %q, want %q", f.Body, f.Header.Get("Cache-Status"), want)
		}
	}
	for _, path := range []string{"greeting", "prices", "search?q=a", "thumb/1.png"} { // the site has none of the shop's functions
		f := fetch(t, v, shopURL+path)
		if string(f.Body) != "my own site" || strings.Contains(strings.Join(f.Header.Values("Server-Timing"), " "), "fn;dur") {
			t.Errorf("%s: got %.100q", path, f.Body)
		}
	}
	m, err := maps()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Up(t.Context(), Config{Geo: m.geo, Place: m.place, Ports: Ports{Ephemeral: true}, Origin: "http://127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), "start your site first") {
		t.Errorf("unreachable origin: got %v", err)
	}
}

// TestTraceShowsTheSteps checks the hosts and the question of each step.
func TestTraceShowsTheSteps(t *testing.T) {
	l := startLab(t, nil)
	tr, err := l.Trace(t.Context(), at(t, l, "jakarta-office"), shopURL)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range tr.Steps {
		if s.Took <= 0 {
			t.Errorf("step %d took %v", s.Number, s.Took)
		}
		to := strings.TrimRight(s.To, "12")
		got = append(got, fmt.Sprintf("%s > %s", strings.TrimRight(s.From, "12"), to))
	}
	// On a crowded machine lhr-1 may be slow to answer, and the client tries the
	// next address. The edge does not matter for this test.
	want := "jakarta-office > office-lhr, office-lhr > root, office-lhr > ns-shop, office-lhr > root, office-lhr > ns, jakarta-office > "
	if !strings.HasPrefix(strings.Join(got, ", "), want) || !strings.HasSuffix(got[len(got)-1], "> origin") {
		t.Errorf("got %s\nwant %s", strings.Join(got, ", "), want)
	}
}

// TestFrozenProcessDoesNothing checks that a frozen edge sends no burst of missed
// heartbeats when it is healed, and that a frozen process can be killed.
func TestFrozenProcessDoesNothing(t *testing.T) {
	l := startLab(t, nil)
	edge := l.Internet.Host("syd-1")
	to := l.Internet.Host("sydney")
	in, err := to.ListenPacket(t.Context(), "udp", ":9999")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := edge.ListenPacket(t.Context(), "udp", ":9998")
	if err != nil {
		t.Fatal(err)
	}
	ticks := make(chan int)
	go func() { // a timer of the edge's process
		defer close(ticks)
		for n := 0; ; n++ {
			if _, err := out.WriteTo([]byte{1}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(4), 9999))); err != nil {
				return
			}
			select {
			case ticks <- n:
			case <-t.Context().Done():
				return
			}
		}
	}()
	<-ticks
	if err := l.Do(t.Context(), "syd-1", Freeze); err != nil {
		t.Fatal(err)
	}
	more := 0
	for wait := time.After(300 * time.Millisecond); wait != nil; {
		select {
		case <-ticks:
			more++ // one call may have been running
		case <-wait:
			wait = nil
		}
	}
	if more > 1 {
		t.Errorf("a frozen process made %d calls", more)
	}
	if err := l.Do(t.Context(), "syd-1", Heal); err != nil {
		t.Fatal(err)
	}
	<-ticks
	out.Close()
	for range ticks { // until the goroutine has ended
	}
	if err := l.Do(t.Context(), "syd-1", Freeze); err != nil {
		t.Fatal(err)
	}
	if err := l.Do(t.Context(), "syd-1", Kill); err != nil {
		t.Error(err)
	}
}
