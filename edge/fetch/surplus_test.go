package fetch

import (
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

// TestSurplusBytesEndConnection checks that bytes after a reply are never used as the
// reply to another request, whether they come at once or late.
func TestSurplusBytesEndConnection(t *testing.T) {
	for _, tt := range []struct{ name, method, reply, surplus string }{
		{"204 with a length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "hello"},
		{"204 with chunks", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n"},
		{"204 with a body like a reply", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 38\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "hello"},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hello"},
		{"beyond the length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "hello"},
		{"beyond the last chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "hello"},
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/late=%v", tt.name, late), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.origin("o", func(c net.Conn, q *http.Request) bool {
						if q.URL.Path == "/next" {
							return says(ok)(c, q)
						}
						if late {
							io.WriteString(c, tt.reply)
							time.Sleep(time.Second)
							io.WriteString(c, tt.surplus)
						} else {
							io.WriteString(c, tt.reply+tt.surplus)
						}
						return true
					})
					u := w.upstream("o")
					x := get("/")
					x.Method = tt.method
					if _, err := w.do(u, x); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Second)
					if got, err := w.do(u, get("/next")); got != "200 hi" || err != nil {
						t.Errorf("the next reply is %q, %v", got, err)
					}
				})
			})
		}
	}
}

// TestSurplusBytesAreDetectedInSockets sends a valid second reply behind the first,
// over TCP and over TLS.
func TestSurplusBytesAreDetectedInSockets(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			sent := make(chan struct{})
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if q.URL.Path == "/next" {
					io.WriteString(w, "right")
					return
				}
				c, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				// One TLS record, so that the rest of it is decrypted with the first bytes.
				body := strings.Repeat("x", 8<<10)
				reply := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				io.WriteString(c, reply+"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
				close(sent)
				io.Copy(io.Discard, c)
			}))
			url := ""
			if secure {
				s.StartTLS()
			} else {
				s.Start()
			}
			url = s.URL
			defer s.Close()
			cfg := Config{Name: "perto-gru-1", Network: new(netx.OS)}
			if secure {
				cfg.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig
			}
			client := NewClient(cfg)
			defer client.Close()
			u, err := client.Upstream([]Origin{{URL: url}})
			if err != nil {
				t.Fatal(err)
			}
			ask := func(target string) string {
				r, err := u.Do(context.Background(), get(target))
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				body, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				return string(body)
			}
			ask("/")
			<-sent
			if got := ask("/next"); got != "right" {
				t.Errorf("the next request got %q", got)
			}
		})
	}
}
