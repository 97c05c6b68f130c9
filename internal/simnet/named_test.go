package simnet

import (
	"io"
	"testing"
	"testing/synctest"
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
