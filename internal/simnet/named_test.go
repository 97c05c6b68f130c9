package simnet

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestNamedHostsReachEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{})
		if origin := n.Named("origin"); origin != n.Named("origin") {
			t.Error("a name has two hosts")
		}
		l, err := n.Named("origin").Listen(t.Context(), "tcp", "origin:80")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				io.WriteString(c, "hello")
				c.Close()
			}
		}()
		c, err := n.Named("client").DialContext(t.Context(), "tcp", "origin:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := n.Named("client").DialContext(t.Context(), "tcp", "nowhere:80"); err == nil {
			t.Error("a name without a host was dialled")
		}
	})
}

// TestWriterToClosedPeerIsReset: the reader closes with all data read, and the writer
// goes on. With a network without delay it must not write for ever.
func TestWriterToClosedPeerIsReset(t *testing.T) {
	for _, link := range []Link{{}, {Latency: 20 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			n := New(1, link)
			l, err := n.Named("server").Listen(t.Context(), "tcp", ":80")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			wrote := make(chan error)
			go func() {
				c, err := l.Accept()
				for err == nil {
					_, err = c.Write(make([]byte, 1<<10))
				}
				wrote <- err
			}()
			c, err := n.Named("client").DialContext(t.Context(), "tcp", "server:80")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 10<<10)); err != nil {
				t.Fatal(err)
			}
			c.Close()
			if err := <-wrote; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("latency %v: the writer got %v, want a reset", link.Latency, err)
			}
		})
	}
}
