package edge

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"perto/internal/simnet"
)

// TestReasonPhraseIsKept checks that a stored reply has the origin's phrase, or the
// registered phrase if the origin sent none.
func TestReasonPhraseIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(0, simnet.Link{})
		l := rawOrigin(t, n, func(c net.Conn) {
			q, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			line := "HTTP/1.1 401"
			if q.URL.Path == "/own" {
				line = "HTTP/1.1 200 Fine, thanks"
			}
			io.WriteString(c, line+"\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n")
		})
		b := &bubble{T: t, net: n, edge: newEdge(t, Config{Name: "gru-1", Network: n.Named("edge")}, "http://origin"), ran: make(chan error, 1)}
		go func() { b.ran <- b.edge.Run(context.Background()) }()
		synctest.Wait()
		for path, want := range map[string]string{"/own": "HTTP/1.1 200 Fine, thanks\r\n", "/plain": "HTTP/1.1 401 Unauthorized\r\n"} {
			for range 2 {
				if got := b.ask("GET " + path + " HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, want) {
					t.Errorf("%s: got %.60q, want %q", path, got, want)
				}
			}
		}
		l.Close()
		b.edge.Close()
		<-b.ran
	})
}
