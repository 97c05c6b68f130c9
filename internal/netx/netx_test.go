package netx

import (
	"io"
	"testing"
)

var _ Network = (*OS)(nil)

func TestOSCarriesStreamsAndPackets(t *testing.T) {
	var n OS
	l, err := n.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()
	c, err := n.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("perto"))
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "perto" {
		t.Errorf("got %q, error %v; want the echo", got, err)
	}

	p, err := n.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	u, err := n.DialContext(t.Context(), "udp", p.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.Write([]byte("near"))
	if k, from, err := p.ReadFrom(got); err != nil || string(got[:k]) != "near" || from.String() != u.LocalAddr().String() {
		t.Errorf("got %q from %v, error %v", got[:k], from, err)
	}
}
