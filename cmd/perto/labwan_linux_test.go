package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"perto/internal/netns"
	"perto/lab/wan"
)

// globe is three regions around a WAN emulator. Each host is in a network namespace of
// its own, as containers are:
//
//	host gru --198.18.1.0/24-- wan --198.18.2.0/24-- host fra
//	                            '----198.18.3.0/24-- host syd
//
// All processes are the real command, started as root and then unprivileged.
type globe struct {
	t     *testing.T
	perto string // the command
	wan   *netns.Namespace
	hosts map[string]*netns.Namespace
}

var globeRegions = []struct{ name, place string }{{"gru", "São Paulo, BR"}, {"fra", "Frankfurt am Main, DE"}, {"syd", "Sydney, AU"}}

func hostAddr(region string) netip.Addr { return regionAddr(region, 10) }

func regionAddr(region string, last byte) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, regionNumber(region), last})
}

func regionAddr6(region string, last byte) netip.Addr {
	a := netip.MustParseAddr("2001:db8::").As16()
	a[5], a[15] = regionNumber(region), last
	return netip.AddrFrom16(a)
}

func regionNumber(region string) byte {
	return byte(1 + slices.IndexFunc(globeRegions, func(r struct{ name, place string }) bool { return r.name == region }))
}

func newGlobe(t *testing.T) *globe {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("needs a TUN device: %v", err)
	}
	g := &globe{t: t, hosts: make(map[string]*netns.Namespace)}
	g.perto = command(t)
	g.wan = g.namespace()
	for i, r := range globeRegions {
		h := g.namespace()
		g.hosts[r.name] = h
		outside := fmt.Sprintf("eth%d", i)
		g.in(g.wan, func() error {
			return errors.Join(
				netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: outside}, PeerName: "eth", PeerNamespace: netlink.NsFd(h.FD())}),
				address(outside, regionAddr(r.name, 254), regionAddr6(r.name, 254)))
		})
		g.in(h, func() error { return address("eth", hostAddr(r.name), regionAddr6(r.name, 10)) })
	}
	g.in(g.wan, func() error { // strict reverse path filters must accept the emulator's routes
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0),
			os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0),
			os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0),
			os.WriteFile("/proc/sys/net/ipv4/conf/default/rp_filter", []byte("1"), 0))
	})
	return g
}

// command links the test binary under the name with which it acts as perto (see
// TestMain). An unprivileged user may execute it in that folder.
func command(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "perto-wan-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "perto")
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(to.Close(), os.Chmod(dir, 0o755), os.Chmod(path, 0o755),
		os.Symlink(path, path+"-joined"), os.Symlink(path, path+"-leash")); err != nil {
		t.Fatal(err)
	}
	return path
}

func (g *globe) namespace() *netns.Namespace {
	g.t.Helper()
	n, err := netns.New()
	if err != nil {
		g.t.Skipf("cannot make network namespaces here: %v", err)
	}
	g.t.Cleanup(func() { n.Close() })
	g.in(n, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return n
}

// address gives a link its addresses and brings it up.
func address(link string, addrs ...netip.Addr) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		at := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(24, 32)}}
		if a.Is6() {
			at.Mask, at.Flags = net.CIDRMask(64, 128), unix.IFA_F_NODAD // no duplicate address detection: the link has no other host
		}
		if err := netlink.AddrAdd(l, at); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

func (g *globe) in(n *netns.Namespace, f func() error) {
	g.t.Helper()
	if err := n.Do(f); err != nil {
		g.t.Fatal(err)
	}
}

// start runs perto in a namespace until the test ends, and waits for a line with ready.
// The process runs under leash, so that a killed test leaves no process. The kernel's
// parent-death signal would be lost when privileges are dropped.
func (g *globe) start(n *netns.Namespace, ready string, args ...string) {
	g.t.Helper()
	out := newOutput()
	cmd := exec.Command(filepath.Join(filepath.Dir(g.perto), "perto-leash"), append([]string{g.perto}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	leash, err := cmd.StdinPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	g.in(n, cmd.Start)
	g.t.Cleanup(func() {
		leash.Close()
		if err := cmd.Wait(); err != nil {
			g.t.Errorf("perto %v: %v\n%s", args, err, out.waitFor(g.t, ""))
		}
	})
	out.waitFor(g.t, ready)
}

// ask runs perto in the emulator's namespace and returns its output.
func (g *globe) ask(args ...string) string {
	g.t.Helper()
	var out, diagnostics bytes.Buffer
	cmd := exec.Command(g.perto, args...)
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	g.in(g.wan, cmd.Start)
	if err := cmd.Wait(); err != nil {
		g.t.Fatalf("perto %v: %v: %s", args, err, diagnostics.String())
	}
	return out.String()
}

// serve starts the emulator and joins every host.
func (g *globe) serve() {
	g.t.Helper()
	args := []string{"lab", "wan", "serve"}
	for _, r := range globeRegions {
		args = append(args, "--region", fmt.Sprintf("%s=%s,%s@%s", r.name, netip.PrefixFrom(regionAddr(r.name, 0), 24), netip.PrefixFrom(regionAddr6(r.name, 0), 64), r.place))
	}
	g.start(g.wan, "The wan carries between 3 regions", args...)
	var joins sync.WaitGroup
	for name, h := range g.hosts {
		joins.Go(func() { g.join(name, h) })
	}
	joins.Wait()
}

// join joins a host, and checks the privileges of the command that it runs.
func (g *globe) join(region string, h *netns.Namespace) {
	cmd := exec.Command(g.perto, "lab", "wan", "join", "--route", "198.18.0.0/15="+regionAddr(region, 254).String(),
		"--route", "2001:db8::/32="+regionAddr6(region, 254).String(), "--", "perto-joined", "--drop-to", "0")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(g.perto)+":"+os.Getenv("PATH"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := errors.Join(h.Do(cmd.Start), cmd.Wait()); err != nil {
		g.t.Errorf("join: %v\n%s", err, out.String())
	}
	for _, want := range []string{"Uid:\t65532\t65532", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "--drop-to 0"} {
		if !strings.Contains(out.String(), want) {
			g.t.Errorf("a command that joined lacks %q:\n%s", want, out.String())
		}
	}
}

// set changes conditions with the API's form. (A command takes a second to start under
// the race detector.)
func (g *globe) set(form string) {
	g.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = g.wan.Do(func() error { c, err = net.Dial(network, addr); return err })
		return c, err
	}}}
	resp, err := client.Post("http://127.0.0.1:8090/v1/wan", "application/x-www-form-urlencoded", strings.NewReader(form))
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		g.t.Fatalf("%s: %s", form, b)
	}
}

// echo serves UDP and TCP echo on port 7 of an address of a region's host.
func (g *globe) echo(region string, addr netip.Addr) {
	g.t.Helper()
	at := netip.AddrPortFrom(addr, 7).String()
	var packets net.PacketConn
	var connections net.Listener
	g.in(g.hosts[region], func() (err error) {
		if packets, err = net.ListenPacket("udp", at); err != nil {
			return err
		}
		connections, err = net.Listen("tcp", at)
		return err
	})
	g.t.Cleanup(func() { packets.Close(); connections.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := packets.ReadFrom(b)
			if err != nil {
				return
			}
			packets.WriteTo(b[:n], from)
		}
	}()
	go func() {
		for {
			c, err := connections.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(io.Discard, c)
				c.Write([]byte("all"))
			}()
		}
	}()
}

// dial opens a socket in a region's host to an echo.
func (g *globe) dial(network, from string, to netip.Addr) (c net.Conn, err error) {
	err = g.hosts[from].Do(func() error {
		c, err = net.DialTimeout(network, netip.AddrPortFrom(to, 7).String(), 3*time.Second)
		return err
	})
	return c, err
}

// ping sends n datagrams, one every few milliseconds. It returns the round-trip times of
// those that come back within a second of the last.
func (g *globe) ping(from string, to netip.Addr, n int) []time.Duration {
	g.t.Helper()
	c, err := g.dial("udp", from, to)
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	go func() {
		tick := time.NewTicker(4 * time.Millisecond)
		defer tick.Stop()
		for range n {
			c.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Since(start))))
			<-tick.C
		}
	}()
	var rtts []time.Duration
	b := make([]byte, 8)
	c.SetReadDeadline(time.Now().Add(time.Duration(n)*4*time.Millisecond + time.Second))
	for len(rtts) < n {
		if _, err := c.Read(b); err != nil {
			break
		}
		rtts = append(rtts, time.Since(start)-time.Duration(binary.BigEndian.Uint64(b)))
	}
	slices.Sort(rtts)
	return rtts
}

func median(d []time.Duration) time.Duration { return d[len(d)/2] }

func TestWAN(t *testing.T) {
	g := newGlobe(t)
	g.serve()
	g.echo("fra", hostAddr("fra"))
	g.echo("fra", regionAddr6("fra", 10))
	g.echo("syd", hostAddr("syd"))
	t.Run("delay", func(t *testing.T) { g.delay(t, hostAddr("fra")) })
	t.Run("delay of IPv6", func(t *testing.T) { g.delay(t, regionAddr6("fra", 10)) })
	t.Run("cut", g.cut)
	t.Run("loss", g.loss)
	t.Run("bandwidth", g.bandwidth)
	t.Run("much", g.much)

	var s wan.State
	if err := json.Unmarshal([]byte(g.ask("--json", "lab", "wan", "show")), &s); err != nil || len(s.Pairs) != 6 || s.Pairs[0].Cut == 0 || s.Pairs[0].Lost < 100 {
		t.Errorf("state after all of it: %v %+v", err, s)
	}
	if text := g.ask("lab", "wan", "show"); !strings.Contains(text, "gru      <->  syd") {
		t.Errorf("show says\n%s", text)
	}
}

func (g *globe) delay(t *testing.T, fra netip.Addr) {
	for _, rtt := range []time.Duration{20 * time.Millisecond, 80 * time.Millisecond, 200 * time.Millisecond} {
		g.set("from=gru&to=fra&delay=" + (rtt / 2).String())
		g.ping("gru", fra, 1) // resolves the addresses of neighbours
		// A slow machine may be late, but not five times in a row.
		var got []time.Duration
		for try := 0; try < 5 && (try == 0 || median(got) > rtt*115/100); try++ {
			if got = g.ping("gru", fra, 100); len(got) < 100 {
				t.Fatalf("%d of 100 packets came back", len(got))
			}
		}
		start := time.Now()
		c, err := g.dial("tcp", "gru", fra)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		c.Close()
		t.Logf("asked %v: UDP min %v, median %v, max %v; TCP connect %v", rtt, got[0], median(got), got[99], took)
		if m := median(got); got[0] < rtt || m > rtt*115/100 {
			t.Errorf("asked %v, min %v, median %v", rtt, got[0], m)
		}
		if took < rtt {
			t.Errorf("asked %v, connected in %v", rtt, took)
		}
	}
}

func (g *globe) cut(t *testing.T) {
	fra := hostAddr("fra")
	g.ask("lab", "wan", "set", "gru", "--delay", "5ms")
	g.ask("lab", "wan", "cut", "gru", "fra")
	if got := g.ping("gru", fra, 10); len(got) != 0 {
		t.Errorf("%d packets crossed a cut", len(got))
	}
	if got := g.ping("gru", hostAddr("syd"), 10); len(got) != 10 || median(got) > 20*time.Millisecond {
		t.Errorf("past another pair's cut came %v", got)
	}
	g.ask("lab", "wan", "heal", "gru", "fra")
	if got := g.ping("gru", fra, 10); len(got) != 10 || median(got) < 20*time.Millisecond {
		t.Errorf("after the end of a cut, at the great circle's delay, came %v", got)
	}
	g.set("from=gru&to=fra&one_way=true&cut=true")
	if got := g.ping("gru", fra, 10); len(got) != 0 {
		t.Errorf("%d packets crossed a cut of one direction", len(got))
	}
	g.set("reset=true")
}

func (g *globe) loss(t *testing.T) {
	g.set("from=gru&to=fra&one_way=true&loss=30%25&delay=1ms")
	got := len(g.ping("gru", hostAddr("fra"), 500))
	t.Logf("loss of 30 %%: %d of 500 came back", got)
	if got < 300 || got > 400 {
		t.Errorf("%d of 500 packets came back at a loss of 30 %% one way", got)
	}
	g.set("reset=true")
}

func (g *globe) bandwidth(t *testing.T) {
	const bytes, asked = 5_000_000, 20.0
	g.set("from=gru&to=fra&delay=5ms&bandwidth=20Mbps")
	took := g.transfer(t, "gru", hostAddr("fra"), bytes)
	rate := bytes * 8 / took.Seconds() / 1e6
	t.Logf("20 Mbps: %d bytes in %v, %.1f Mbps", bytes, took, rate)
	if rate > asked || rate < asked/2 {
		t.Errorf("got %.1f Mbps over %.0f Mbps", rate, asked)
	}
	g.set("reset=true")
}

// much measures the throughput of an emulator without limits.
func (g *globe) much(t *testing.T) {
	const bytes = 50_000_000
	g.set("from=gru&to=fra&delay=5ms")
	took := g.transfer(t, "gru", hostAddr("fra"), bytes)
	t.Logf("%d bytes in %v: %.0f Mbps", bytes, took, bytes*8/took.Seconds()/1e6)
}

// transfer sends bytes over TCP and returns the time until the other side has received
// them all.
func (g *globe) transfer(t *testing.T, from string, to netip.Addr, bytes int64) time.Duration {
	t.Helper()
	c, err := g.dial("tcp", from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	start := time.Now()
	_, err = io.CopyN(c, zeros{}, bytes)
	err = errors.Join(err, c.(*net.TCPConn).CloseWrite())
	if _, err2 := io.ReadFull(c, make([]byte, 3)); err != nil || err2 != nil {
		t.Fatal(errors.Join(err, err2))
	}
	return time.Since(start)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
