package replicas

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"perto/internal/netx"
	"perto/internal/simnet"
)

// selfSigned returns an expired certificate without a trusted issuer.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestProbeOutcomes(t *testing.T) {
	say := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			defer c.Close()
			if n, _ := c.Read(make([]byte, 4096)); n > 0 {
				io.WriteString(c, text)
			}
		}
	}
	cert := selfSigned(t)
	secure := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			say(text)(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}))
		}
	}
	tests := []struct {
		name  string
		kind  ProbeKind
		serve func(net.Conn) // nil for no listener
		want  outcome
		err   string
	}{
		{"http", ProbeHTTP, say("HTTP/1.1 200 OK\r\n\r\n"), outcomeOK, ""},
		{"http without reason phrase", ProbeHTTP, say("HTTP/1.0 204\r\n\r\n"), outcomeOK, ""},
		{"http redirect", ProbeHTTP, say("HTTP/1.1 301 Moved\r\n\r\n"), outcomeOK, ""},
		{"http after early hints", ProbeHTTP, say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), outcomeOK, ""},
		{"http after several interim replies", ProbeHTTP, say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nA: " + strings.Repeat("x", 3000) + "\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), outcomeOK, ""},
		{"http unavailable after early hints", ProbeHTTP, say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 503 No\r\n\r\n"), outcomeBad, "status 503"},
		{"http interim replies only", ProbeHTTP, say("HTTP/1.1 103 Early Hints\r\n\r\n"), outcomeBad, "EOF"},
		{"http interim replies without an end", ProbeHTTP, say(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 9999)), outcomeBad, "exceeded"},
		{"http upgrade", ProbeHTTP, say("HTTP/1.1 101 Switching Protocols\r\n\r\n"), outcomeBad, "status 101"},
		{"http not found", ProbeHTTP, say("HTTP/1.1 404 Not Found\r\n\r\n"), outcomeBad, "status 404"},
		{"http unavailable", ProbeHTTP, say("HTTP/1.1 503 No\r\n\r\n"), outcomeBad, "status 503"},
		{"not http", ProbeHTTP, say("SSH-2.0-x\r\n"), outcomeBad, "malformed HTTP"},
		{"endless line", ProbeHTTP, say(strings.Repeat("x", 99999)), outcomeBad, "exceeded"},
		{"cut line", ProbeHTTP, say("HTTP/1.1 20"), outcomeBad, "malformed HTTP"},
		{"http with an endless body", ProbeHTTP, say("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 1<<20)), outcomeOK, ""},
		{"http/2 preface", ProbeHTTP, say("\x00\x00\x12\x04\x00\x00\x00\x00\x00\n"), outcomeBad, "malformed HTTP"},
		{"closed without an answer", ProbeHTTP, func(c net.Conn) { c.Read(make([]byte, 4096)); c.Close() }, outcomeError, "EOF"},
		{"reset", ProbeHTTP, func(c net.Conn) { c.Read(make([]byte, 1)); c.Close() }, outcomeReset, "reset"},
		{"never answers", ProbeHTTP, func(c net.Conn) { time.Sleep(5 * time.Second); c.Close() }, outcomeTimeout, ""},
		{"refused", ProbeHTTP, nil, outcomeRefused, "refused"},
		{"https, expired and unknown certificate", ProbeHTTPS, secure("HTTP/1.1 200 OK\r\n\r\n"), outcomeOK, ""},
		{"https, unavailable", ProbeHTTPS, secure("HTTP/1.1 500 Oops\r\n\r\n"), outcomeBad, "status 500"},
		{"tcp", ProbeTCP, func(c net.Conn) { c.Close() }, outcomeOK, ""},
		{"tcp refused", ProbeTCP, nil, outcomeRefused, "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := simnet.New(1, simnet.Link{Latency: 10 * ms})
				a, b := n.Host("192.0.2.1"), n.Host("203.0.113.1")
				defer func() { b.Kill(); a.Kill(); time.Sleep(10 * time.Second) }()
				if tt.serve != nil {
					l, err := b.Listen(t.Context(), "tcp", ":80")
					if err != nil {
						t.Fatal(err)
					}
					go func() {
						if c, err := l.Accept(); err == nil {
							tt.serve(c)
						}
					}()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				p := prober{network: a}
				err := p.run(ctx, Probe{Kind: tt.kind, Host: "shop.example", Path: "/"}, netip.MustParseAddrPort("203.0.113.1:80"))
				if got := classify(err); got != tt.want || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v (%v), want %v", got, err, tt.want)
				}
			})
		})
	}
}

func TestHTTPProbeRequest(t *testing.T) {
	for _, path := range []string{"/", "/healthz?deep=1&x=%2F", "//a?b", "/%zz"} {
		for _, host := range []string{"shop.example", ""} {
			synctest.Test(t, func(t *testing.T) {
				n := simnet.New(1, simnet.Link{Latency: 10 * ms})
				a, b := n.Host("192.0.2.1"), n.Host("203.0.113.1")
				defer func() { b.Kill(); a.Kill(); time.Sleep(10 * time.Second) }()
				l, err := b.Listen(t.Context(), "tcp", ":80")
				if err != nil {
					t.Fatal(err)
				}
				got := make(chan string, 1)
				go func() {
					c, err := l.Accept()
					if err != nil {
						return
					}
					defer c.Close()
					p := make([]byte, 4096)
					k, _ := c.Read(p)
					got <- string(p[:k])
					io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				}()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				p := prober{network: a}
				if err := p.run(ctx, Probe{Kind: ProbeHTTP, Host: host, Path: path}, netip.MustParseAddrPort("203.0.113.1:80")); err != nil {
					t.Fatal(err)
				}
				want := "GET " + path + " HTTP/1.1\r\nHost: " + cmp.Or(host, "203.0.113.1:80") + "\r\nUser-Agent: perto-probe\r\nConnection: close\r\n\r\n"
				if r := <-got; r != want {
					t.Errorf("got %q, want %q", r, want)
				}
			})
		}
	}
}

func TestDNSProbe(t *testing.T) {
	for rcode, want := range map[int]outcome{
		dns.RcodeSuccess: outcomeOK, dns.RcodeNameError: outcomeOK, dns.RcodeServerFailure: outcomeBad, dns.RcodeRefused: outcomeBad, -1: outcomeTimeout,
	} {
		synctest.Test(t, func(t *testing.T) {
			n := simnet.New(1, simnet.Link{Latency: 10 * ms})
			a, b := n.Host("192.0.2.1"), n.Host("203.0.113.1")
			defer b.Kill()
			conn, err := b.ListenPacket(t.Context(), "udp", ":53")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				p := make([]byte, 512)
				for {
					k, from, err := conn.ReadFrom(p)
					if err != nil {
						return
					}
					q := new(dns.Msg)
					if q.Unpack(p[:k]) != nil || rcode < 0 {
						continue
					}
					stray := new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
					stray.Id++
					answer := new(dns.Msg).SetRcode(q, rcode)
					for _, m := range []*dns.Msg{stray, answer} {
						out, _ := m.Pack()
						conn.WriteTo(out, from)
					}
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			p := prober{network: a}
			err = p.run(ctx, Probe{Kind: ProbeDNS, Host: "cdn.example"}, netip.MustParseAddrPort("203.0.113.1:53"))
			if got := classify(err); got != want {
				t.Errorf("rcode %d: got %v (%v), want %v", rcode, got, err, want)
			}
		})
	}
}

// TestRegistryUsesSystemSockets runs one heartbeat and one probe through real sockets on
// loopback. All other tests run in virtual time.
func TestRegistryUsesSystemSockets(t *testing.T) {
	var network netx.OS
	l, err := network.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	reg, err := New(t.Context(), Config{
		Network: &network, Listen: "127.0.0.1:0",
		Settings: Settings{
			Keys:     []Key{testKey(1)},
			Declared: []Declared{{Name: "e-0", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Beats: true, Probes: []Probe{{Kind: ProbeTCP, Port: port, Interval: 500 * ms}}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := NewSender(SenderConfig{
		Network: &network, Keys: []Key{testKey(1)}, Name: "e-0", Targets: []netip.AddrPort{netip.MustParseAddrPort(reg.Addr().String())},
		Status: func() Status { return Status{Listeners: 1, Port: port} }, Interval: minInterval,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	senderCtx, farewell := context.WithCancel(ctx)
	ended := make(chan error, 2)
	go func() { ended <- reg.Run(ctx) }()
	go func() { ended <- sender.Run(senderCtx) }()
	wait := func(want State) {
		t.Helper()
		for f, v := reg.Fleet().LoadVersion(); f.Members[0].State != want; {
			if f, v, err = reg.Fleet().Wait(ctx, v); err != nil {
				t.Fatalf("%v is not reached: %v", want, err)
			}
		}
	}
	wait(StateUp)
	l.Close()
	wait(StateDown) // refused
	farewell()
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	}
}
