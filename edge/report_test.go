package edge

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perto/internal/simnet"
)

// TestBadRepliesAreLoggedWithTheirReason checks that the log names each kind of bad
// reply, and that many events of one kind cause one line.
func TestBadRepliesAreLoggedWithTheirReason(t *testing.T) {
	for reply, reason := range map[string]string{
		"ICY 200 OK\r\n\r\n":             "malformed status line",
		"HTTP/1.1 200 OK\r\nA b\r\n\r\n": "malformed header name",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n":                  "more than one Content-Length",
		"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\nx":  "malformed chunk",
		"HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nTransfer-Encoding: chunked\r\n\r\nx": "malformed chunk",
	} {
		synctest.Test(t, func(t *testing.T) {
			n := simnet.New(0, simnet.Link{})
			l := rawOrigin(t, n, func(c net.Conn) {
				buf := make([]byte, 4096)
				c.Read(buf)
				io.WriteString(c, reply+"\r\n")
			})
			var log bytes.Buffer
			e := newEdge(t, Config{Name: "gru-1", Network: n.Named("edge"), Logger: slog.New(slog.NewTextHandler(&log, nil))}, "http://origin")
			ask := func(request string) {
				client, server := net.Pipe()
				go newConn(e, server).serve()
				go io.WriteString(client, request)
				io.ReadAll(client)
				client.Close()
				synctest.Wait()
			}
			for range 5 {
				ask(getClose)
			}
			time.Sleep(reportEvery)
			ask(getClose)
			lines := log.String()
			if n := strings.Count(lines, "msg=\"origin failed\""); n != 2 || !strings.Contains(lines, reason) || !strings.Contains(lines, "omitted=4") || !strings.Contains(lines, "origin=origin:80") {
				t.Errorf("%q: want two lines with %q, got:\n%s", reply, reason, lines)
			}
			e.Close()
			l.Close()
			e.fetcher.Wait()
		})
	}
}

// TestUnknownHostsAreLogged checks that the line has the hosts that the edge serves,
// and that not every request causes a line.
func TestUnknownHostsAreLogged(t *testing.T) {
	var log bytes.Buffer
	inBubble(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, cached("x"), func(b *bubble) {
		for range 3 {
			b.ask("GET / HTTP/1.1\r\nHost: nowhere.example\r\nConnection: close\r\n\r\n")
		}
		if got := log.String(); strings.Count(got, "no service has this host") != 1 || !strings.Contains(got, "host=nowhere.example") || !strings.Contains(got, "shop.example") {
			t.Errorf("got %s", got)
		}
	})
}

// TestFailedRefreshIsLogged checks the log of a refresh that no client waits for.
func TestFailedRefreshIsLogged(t *testing.T) {
	var log bytes.Buffer
	down := false
	origin := func(w http.ResponseWriter, q *http.Request) {
		if down {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Cache-Control", "max-age=1, stale-while-revalidate=60")
		io.WriteString(w, "x")
	}
	inBubble(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, origin, func(b *bubble) {
		b.ask(getClose)
		time.Sleep(5 * time.Second)
		down = true
		if got := b.ask(getClose); !strings.Contains(got, "stale-while-revalidate") {
			t.Errorf("got %q", got)
		}
		synctest.Wait()
		if got := log.String(); !strings.Contains(got, "cause=origin-closed") || !strings.Contains(got, "url=shop.example/a") {
			t.Errorf("got %s", got)
		}
	})
}
