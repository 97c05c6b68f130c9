package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"perto/internal/netx"
)

// onSockets runs f beside an edge on the operating system's TCP.
func onSockets(t *testing.T, origin http.Handler, f func(e *Edge, address string)) {
	t.Helper()
	server := httptest.NewServer(origin)
	defer server.Close()
	e := newEdge(t, Config{Name: "gru-1", Network: new(netx.OS), Listen: []string{"127.0.0.1:0"}}, server.URL)
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- e.Run(context.Background()) }()
	f(e, e.Addrs()[0].String())
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// TestHotBodiesAreSentFromTheirFile sends a body whole and in parts, more than a socket
// accepts at once, and after the purge that closes the file.
func TestHotBodiesAreSentFromTheirFile(t *testing.T) {
	body := digits(9_000_001)
	onSockets(t, cached(body), func(e *Edge, address string) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		br := bufio.NewReader(c)
		ask := func(rng string) *http.Response {
			fmt.Fprintf(c, "GET /a HTTP/1.1\r\nHost: shop.example\r\nRange: %s\r\n\r\n", rng)
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		io.Copy(io.Discard, ask("none").Body)
		e.fetcher.Wait()
		for i := range 6 {
			for rng, want := range map[string]string{
				"none": body, "bytes=5-100004": body[5:100005], "bytes=-1000001": body[len(body)-1000001:], "bytes=3-40": body[3:41],
			} {
				if got, err := io.ReadAll(ask(rng).Body); string(got) != want || err != nil {
					t.Fatalf("%d, %s: %d bytes, %v; want %d", i, rng, len(got), err, len(want))
				}
			}
		}
		if n := e.CacheStats().Files; n != int64(len(body)) {
			t.Errorf("%d bytes are in files", n)
		}
		res := ask("none") // the body does not fit into the socket's buffer
		if n, err := e.Purge("shop.example", "/a"); n != 1 || err != nil || e.CacheStats().Files != 0 {
			t.Errorf("purged %d, %+v", n, e.CacheStats())
		}
		if got, err := io.ReadAll(res.Body); string(got) != body || err != nil {
			t.Errorf("beyond the purge: %d bytes, %v", len(got), err)
		}
		if story := ask("bytes=0-0").Header.Get("Cache-Status"); !strings.Contains(story, "uri-miss") {
			t.Error(story)
		}
	})
}

func TestAHitFromAFileAllocatesNothing(t *testing.T) {
	const size = 100 << 10
	e := warm(t, size)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c := newConn(e, server)
	in := make([]byte, 64<<10)
	request := []byte(get)
	one := func() {
		client.Write(request)
		if err := c.reader.ReadRequest(&c.req.q); err != nil {
			t.Fatal(err)
		}
		c.req.begin(time.Now())
		c.req.run()
		c.req.end()
		for left := c.req.sent; left > 0; {
			n, err := client.Read(in)
			if err != nil {
				t.Fatal(err)
			}
			left -= int64(n)
		}
	}
	for range 5 {
		one()
	}
	if n := e.CacheStats().Files; n != size || c.req.sent < size || c.req.outcome != Hit {
		t.Fatalf("%d bytes in files, %d sent", n, c.req.sent)
	}
	if n := testing.AllocsPerRun(100, one); n != 0 {
		t.Errorf("%v allocations a hit, want 0", n)
	}
}
