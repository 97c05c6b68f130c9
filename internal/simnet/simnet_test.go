package simnet

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func two(n *Net) (a, b *Host) {
	return n.AddHost("a", netip.MustParseAddr("192.0.2.1")), n.AddHost("b", netip.MustParseAddr("192.0.2.2"))
}

func TestPacketsTakeTheLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.Latency = 40 * time.Millisecond
		a, b := two(n)
		server, err := b.ListenPacket(t.Context(), "udp", ":53")
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		c, err := a.DialContext(t.Context(), "udp", "192.0.2.2:53")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		start := time.Now()
		c.Write([]byte("near"))
		buf := make([]byte, 9)
		k, from, err := server.ReadFrom(buf)
		if err != nil || string(buf[:k]) != "near" || time.Since(start) != 40*time.Millisecond {
			t.Errorf("got %q after %v, error %v", buf[:k], time.Since(start), err)
		}
		server.WriteTo([]byte("ok"), from)
		if k, err := c.Read(buf); err != nil || string(buf[:k]) != "ok" {
			t.Errorf("got %q, error %v", buf[:k], err)
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(buf); err == nil || time.Since(start) != 1080*time.Millisecond {
			t.Errorf("deadline: got %v after %v", err, time.Since(start))
		}
	})
}

func TestStreamsRefuseResetAndFallSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.Latency = 10 * time.Millisecond
		a, b := two(n)
		if _, err := a.DialContext(t.Context(), "tcp", "192.0.2.2:80"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("closed port: got %v", err)
		}
		l, err := b.Listen(t.Context(), "tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.Copy(c, c)
		}()
		c, err := a.DialContext(t.Context(), "tcp", "192.0.2.2:80")
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		b.Kill()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("killed: got %v, want a reset", err)
		}
		c.Close()
		n.Isolate(b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := a.DialContext(ctx, "tcp", "192.0.2.2:80"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("cut: got %v after %v, want silence", err, time.Since(start))
		}
	})
}

func TestFreezeHoldsPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := two(n)
		server, _ := b.ListenPacket(t.Context(), "udp", ":53")
		defer server.Close()
		c, _ := a.DialContext(t.Context(), "udp", "192.0.2.2:53")
		defer c.Close()
		b.Freeze()
		c.Write([]byte("1"))
		server.SetReadDeadline(time.Now().Add(time.Second))
		if _, _, err := server.ReadFrom(make([]byte, 1)); err == nil {
			t.Error("a frozen host got a packet")
		}
		b.Thaw()
		server.SetReadDeadline(time.Now().Add(time.Second))
		if _, _, err := server.ReadFrom(make([]byte, 1)); err != nil {
			t.Errorf("after the thaw: %v", err)
		}
	})
}

func TestCutIsOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := two(n)
		pa, _ := a.ListenPacket(t.Context(), "udp", ":1")
		pb, _ := b.ListenPacket(t.Context(), "udp", ":1")
		defer pa.Close()
		defer pb.Close()
		n.Cut(a, b)
		pa.WriteTo([]byte("x"), pb.LocalAddr())
		pb.WriteTo([]byte("y"), pa.LocalAddr())
		buf := make([]byte, 1)
		if _, _, err := pa.ReadFrom(buf); err != nil || buf[0] != 'y' {
			t.Errorf("the open way: got %q, error %v", buf, err)
		}
		pb.SetReadDeadline(time.Now().Add(time.Second))
		if _, _, err := pb.ReadFrom(buf); err == nil {
			t.Error("a packet came through a cut")
		}
	})
}
