package netx

import (
	"net"
	"testing"
)

func TestResponderDoesNotAllocate(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", ":0"} {
		p, err := net.ListenPacket("udp", listen)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		r, err := NewResponder(p)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := SplitPort(p.LocalAddr().String())
		c, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in, back, out := make([]byte, 64), make([]byte, 64), []byte("near")
		n := testing.AllocsPerRun(100, func() {
			c.Write(out)
			k, from, err := r.Read(in)
			if err != nil || !from.IsLoopback() || r.Reply(in[:k]) != nil {
				t.Fatalf("got %d bytes from %s, error %v", k, from, err)
			}
			if k, err := c.Read(back); err != nil || string(back[:k]) != "near" {
				t.Fatalf("got %q, error %v", back[:k], err)
			}
		})
		if n != 0 {
			t.Errorf("%s: got %v allocations, want none", listen, n)
		}
	}
}
