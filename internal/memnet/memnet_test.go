package memnet

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestStreamsCarryBytesBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		l, err := n.Host("server").Listen(t.Context(), "tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Host("server").Listen(t.Context(), "tcp", ":80"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: %v", err)
		}
		go func() {
			c, _ := l.Accept()
			io.Copy(c, c)
			c.Close()
		}()
		c, err := n.Host("client").DialContext(t.Context(), "tcp", "server:80")
		if err != nil {
			t.Fatal(err)
		}
		big := make([]byte, 3*bufferBytes)
		go func() {
			c.Write(big)
			c.(*conn).CloseWrite()
		}()
		if got, err := io.ReadAll(c); len(got) != len(big) || err != nil {
			t.Errorf("%d bytes came back, error %v", len(got), err)
		}
		l.Close()
		if _, err := n.Host("client").DialContext(t.Context(), "tcp", "server:80"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial after close: %v", err)
		}
	})
}

func TestDeadlinesPassInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair("a:1", "b:1")
		defer b.Close()
		begin := time.Now()
		a.SetReadDeadline(begin.Add(time.Hour))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Hour {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
		a.SetWriteDeadline(time.Now().Add(time.Minute))
		if n, err := a.Write(make([]byte, 2*bufferBytes)); n != bufferBytes || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, error %v", n, err)
		}
		a.Close()
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a closed peer: %v", err)
		}
	})
}
