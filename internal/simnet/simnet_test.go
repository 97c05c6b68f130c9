package simnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"perto/internal/netx"
)

var _ netx.Network = (*Host)(nil)

const ms = time.Millisecond

// serve accepts streams and calls f for each in a goroutine of its own.
func serve(t *testing.T, h *Host, address string, f func(net.Conn)) net.Listener {
	t.Helper()
	l, err := h.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f(c)
		}
	}()
	t.Cleanup(h.Kill) // time stops at the end of a bubble, so a FIN would not arrive
	return l
}

func echo(c net.Conn) {
	defer c.Close()
	io.Copy(c, c)
}

func TestPacketsHaveLinkDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Latency: 20 * ms})
		a, b := n.Host("192.0.2.1", "2001:db8::1"), n.Host("192.0.2.2", "2001:db8::2")
		n.SetLink(b, a, Link{Latency: 50 * ms})
		for _, address := range []string{"192.0.2.2:53", "[2001:db8::2]:53"} {
			server, err := b.ListenPacket(t.Context(), "udp", address)
			if err != nil {
				t.Fatal(err)
			}
			client, err := a.DialContext(t.Context(), "udp", address)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			client.Write([]byte("ping"))
			p := make([]byte, 9)
			k, from, err := server.ReadFrom(p)
			if err != nil || string(p[:k]) != "ping" || time.Since(start) != 20*ms {
				t.Errorf("got %q after %v, error %v; want the ping after 20 ms", p[:k], time.Since(start), err)
			}
			server.WriteTo([]byte("pong"), from)
			if k, err = client.Read(p); err != nil || string(p[:k]) != "pong" || time.Since(start) != 70*ms {
				t.Errorf("got %q after %v, error %v; want the pong after 70 ms", p[:k], time.Since(start), err)
			}
			client.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := client.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v, want the deadline", err)
			}
			client.Close()
			server.Close()
			if _, err := client.Read(p); !errors.Is(err, net.ErrClosed) {
				t.Errorf("reading a closed socket: got %v", err)
			}
		}
	})
}

func TestLossIsSeeded(t *testing.T) {
	run := func(seed uint64) (got string) {
		synctest.Test(t, func(t *testing.T) {
			n := New(seed, Link{Latency: ms, Loss: 0.5, Duplicate: 0.1})
			a, b := n.Host("192.0.2.1"), n.Host("192.0.2.2")
			server, _ := b.ListenPacket(t.Context(), "udp", ":1")
			client, _ := a.ListenPacket(t.Context(), "udp", ":1")
			for i := range 40 {
				client.WriteTo([]byte{byte('A' + i)}, server.LocalAddr())
				time.Sleep(2 * ms)
			}
			p := make([]byte, 9)
			server.SetReadDeadline(time.Now().Add(ms))
			for {
				k, _, err := server.ReadFrom(p)
				if err != nil {
					break
				}
				got += string(p[:k])
			}
		})
		return got
	}
	first := run(7)
	if len(first) < 10 || len(first) > 35 {
		t.Errorf("of 40 packets %d arrived, want about half", len(first))
	}
	if again := run(7); again != first {
		t.Errorf("the same seed gave %q and %q", first, again)
	}
	if other := run(8); other == first {
		t.Error("another seed gave the same")
	}
}

func TestCutIsOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Latency: ms})
		a, b := n.Host("192.0.2.1"), n.Host("192.0.2.2")
		ca, _ := a.ListenPacket(t.Context(), "udp", ":1")
		cb, _ := b.ListenPacket(t.Context(), "udp", ":1")
		n.Cut(a, b)
		heard := func(c net.PacketConn, to net.PacketConn) bool {
			c.WriteTo([]byte("x"), to.LocalAddr())
			to.SetReadDeadline(time.Now().Add(10 * ms))
			_, _, err := to.ReadFrom(make([]byte, 1))
			return err == nil
		}
		if heard(ca, cb) || !heard(cb, ca) {
			t.Error("the cut is not one-way")
		}
		n.Heal(a, b)
		if !heard(ca, cb) {
			t.Error("the cut did not heal")
		}
	})
}

func TestStreamKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Latency: 10 * ms, Jitter: 20 * ms})
		a, b := n.Host("192.0.2.1"), n.Host("192.0.2.2")
		serve(t, b, ":80", echo)
		c, err := a.DialContext(t.Context(), "tcp", "192.0.2.2:80")
		if err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		for i := range 60_000 {
			fmt.Fprintf(&want, "%d,", i)
		}
		go func() {
			for s := range strings.SplitAfterSeq(want.String(), "00,") {
				io.WriteString(c, s)
			}
			c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		time.AfterFunc(50*ms, func() { n.CutBoth(a, b) })
		time.AfterFunc(5*time.Second, func() { n.HealBoth(a, b) })
		got, err := io.ReadAll(c)
		if err != nil || string(got) != want.String() {
			t.Errorf("got %d bytes, error %v; want the %d bytes in order", len(got), err, want.Len())
		}
		c.Close()
	})
}

func TestDialErrors(t *testing.T) {
	tests := []struct {
		name string
		prep func(*Net, *Host, *Host)
		want error
		took time.Duration
	}{
		{"no listener", func(*Net, *Host, *Host) {}, syscall.ECONNREFUSED, 20 * ms},
		{"killed", func(_ *Net, _, b *Host) { b.Kill() }, syscall.ECONNREFUSED, 20 * ms},
		{"vanished", func(_ *Net, _, b *Host) { b.Vanish() }, context.DeadlineExceeded, 3 * time.Second},
		{"cut", func(n *Net, a, b *Host) { n.Cut(b, a) }, context.DeadlineExceeded, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(1, Link{Latency: 10 * ms})
				a, b := n.Host("192.0.2.1"), n.Host("192.0.2.2")
				serve(t, b, ":81", echo)
				tt.prep(n, a, b)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				start := time.Now()
				port := ":81"
				if tt.name == "no listener" {
					port = ":80"
				}
				_, err := a.DialContext(ctx, "tcp", "192.0.2.2"+port)
				if !errors.Is(err, tt.want) || time.Since(start) != tt.took {
					t.Errorf("got %v after %v, want %v after %v", err, time.Since(start), tt.want, tt.took)
				}
			})
		})
	}
}

func TestKillResetsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Latency: 10 * ms})
		a, b := n.Host("192.0.2.1"), n.Host("192.0.2.2")
		serve(t, b, ":80", echo)
		c, err := a.DialContext(t.Context(), "tcp", "192.0.2.2:80")
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, b.Kill)
		start := time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) || time.Since(start) != 1010*ms {
			t.Errorf("got %v after %v, want a reset after 1.01 s", err, time.Since(start))
		}
		if l, err := b.Listen(t.Context(), "tcp", ":80"); err != nil {
			t.Errorf("a new process cannot listen: %v", err)
		} else {
			l.Close()
		}
	})
}

func TestFrozenProcessCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Latency: 10 * ms})
		a, b := n.Host("192.0.2.1"), n.Host("192.0.2.2")
		serve(t, b, ":80", echo)
		packets, _ := b.ListenPacket(t.Context(), "udp", ":1")
		b.Freeze()
		time.AfterFunc(2*time.Second, b.Thaw)
		start := time.Now()
		c, err := a.DialContext(t.Context(), "tcp", "192.0.2.2:80")
		if err != nil || time.Since(start) != 20*ms {
			t.Fatalf("dialling a frozen process: got %v after %v, want the kernel's handshake", err, time.Since(start))
		}
		defer c.Close()
		io.WriteString(c, "hello")
		p := make([]byte, 5)
		if _, err := io.ReadFull(c, p); err != nil || time.Since(start) < 2*time.Second {
			t.Errorf("got %q after %v, error %v; want the echo after the thaw", p, time.Since(start), err)
		}
		b.Freeze()
		sender, _ := a.ListenPacket(t.Context(), "udp", ":1")
		for range 3 {
			sender.WriteTo([]byte("x"), packets.LocalAddr())
		}
		time.AfterFunc(time.Second, b.Thaw)
		start = time.Now()
		for range 3 {
			if _, _, err := packets.ReadFrom(p); err != nil || time.Since(start) != time.Second {
				t.Errorf("got %v after %v, want the queued packets at the thaw", err, time.Since(start))
			}
		}
	})
}

func TestDeadlineMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Latency: 10 * ms})
		a, b := n.Host("192.0.2.1"), n.Host("192.0.2.2")
		serve(t, b, ":80", echo)
		c, err := a.DialContext(t.Context(), "tcp", "192.0.2.2:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(-time.Second))
		p := make([]byte, 9)
		if _, err := c.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want the deadline that has passed", err)
		}
		c.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Hour, func() { io.WriteString(c, "late") })
		if k, err := c.Read(p); err != nil || string(p[:k]) != "late" {
			t.Errorf("got %q, error %v; want no deadline any more", p[:k], err)
		}
	})
}
