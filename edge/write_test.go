package edge

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"perto/edge/fetch"
	"perto/edge/http1"
	"perto/internal/fields"
	"perto/internal/simnet"
)

// sink is a connection that keeps the bytes that the edge writes.
type sink struct {
	player
	out bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) { return s.out.Write(p) }

// TestFunctionsCannotSplitReplies checks that a function in either phase cannot make
// one reply look like two, or set fields with a value.
func TestFunctionsCannotSplitReplies(t *testing.T) {
	evil := func(context.Context, *FunctionRequest, next) (*FunctionResponse, error) {
		return text(200, "x", "Cache-Control", "max-age=60", "X-A", "1\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK", "X-B\r\nSet-Cookie", "a=b", "X-C", "2\x00", "X-D", "fine")
	}
	status := func(context.Context, *FunctionRequest, next) (*FunctionResponse, error) { return text(99, "x") }
	inBubble(t, Config{}, cached("origin"), func(b *bubble) {
		b.withFunctions(Function{Path: "/client", Handle: evil}, Function{Path: "/origin", Phase: OriginPhase, Handle: evil},
			Function{Path: "/status", Handle: status}, Function{Path: "/status/origin", Phase: OriginPhase, Handle: status})
		for _, path := range []string{"/client", "/origin", "/origin"} {
			got := b.ask("GET " + path + " HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
			if strings.Count(got, "HTTP/1.1 ") != 1 || strings.Contains(got, "Set-Cookie") || strings.ContainsRune(got, 0) || !strings.Contains(got, "X-D: fine\r\n") {
				t.Errorf("%s: got %q", path, got)
			}
		}
		for _, path := range []string{"/status", "/status/origin"} {
			got := b.ask("GET " + path + " HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 500 ") || !strings.Contains(got, "detail=fn-bad-status") {
				t.Errorf("%s: got %q", path, got)
			}
		}
	})
}

// TestFunctionsCannotSplitRequests checks that a function sends one request to the
// origin, or none.
func TestFunctionsCannotSplitRequests(t *testing.T) {
	paths := make(chan string, 10)
	origin := func(w http.ResponseWriter, q *http.Request) {
		paths <- q.Method + " " + q.URL.Path
		cached("x")(w, q)
	}
	for _, change := range []func(q *FunctionRequest){
		func(q *FunctionRequest) { q.Method = "GET /admin HTTP/1.1\r\nX: " },
		func(q *FunctionRequest) { q.Method = "" },
		func(q *FunctionRequest) {
			q.Header = append(q.Header, fields.Of("X", "a\r\n\r\nGET /admin HTTP/1.1\r\nHost: a")...)
		},
		func(q *FunctionRequest) { q.Header = append(q.Header, fields.Of("X\r\nY", "a")...) },
	} {
		evil := func(_ context.Context, q *FunctionRequest, next next) (*FunctionResponse, error) {
			change(q)
			return next(q)
		}
		inBubble(t, Config{}, origin, func(b *bubble) {
			b.withFunctions(Function{Path: "/a", Phase: OriginPhase, Handle: evil})
			if got := b.ask(getClose); !strings.HasPrefix(got, "HTTP/1.1 500 ") || !strings.Contains(got, "detail=request-unsendable") && !strings.Contains(got, "detail=fn-crash") {
				t.Errorf("got %q", got)
			}
		})
	}
	if len(paths) > 0 {
		t.Errorf("the origin got %s", <-paths)
	}
}

// FuzzReplyWriter checks for all fields of an origin or a function that net/http reads
// one reply with the same body and no further fields.
func FuzzReplyWriter(f *testing.F) {
	for _, s := range [][3]string{
		{"OK", "X-A", "b"}, {"", "Content-Length", "9"}, {"x\r\nA: b", "Transfer-Encoding", "chunked"}, {"OK", "X-A", "b\r\n\r\nHTTP/1.1 200 OK"},
		{"OK", "X\r\nB", "c"}, {"OK", "Connection", "close, x"}, {"OK", "Date", "x"}, {"OK", "", ""}, {"OK", "X-A", "\x00"}, {"OK", "Age", "5\r\nX: y"},
		{"OK", "Trailer", "X"}, {"OK", "Set-Cookie", "a=b"}, {"OK", "Via", "caf\xc3\xa9"}, {"OK", "Keep-Alive", "1"}, {"OK", "A:", "b"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	e, err := New(Config{Name: "gru-1", Network: simnet.New(0, simnet.Link{}).Named("edge")})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Close() })
	const body = "hello"
	f.Fuzz(func(t *testing.T, reason, name, value string) {
		read := func(deliver func(r *request) error) {
			s := &sink{}
			c := newConn(e, s)
			r := &c.req
			r.q = http1.Request{Method: []byte("GET"), Minor: 1, KeepAlive: true}
			r.status = 200
			if err := deliver(r); err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(&s.out)
			raw := s.out.String()
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
			got, err := io.ReadAll(res.Body)
			if rest, _ := io.ReadAll(br); err != nil || string(got) != body || len(rest) > 0 {
				t.Fatalf("%q was read as %q, %v, and %q", raw, got, err, rest)
			}
			for k := range res.Header {
				if !strings.EqualFold(k, name) && !strings.Contains(" Date Via Server-Timing Content-Length Age Cache-Status ", " "+k+" ") {
					t.Fatalf("%q was read with the field %s", raw, k)
				}
			}
		}
		// From a function, before the cache and behind it.
		h := fields.Of(name, value)
		read(func(r *request) error {
			r.response = &FunctionResponse{Status: 200, Header: h, Body: []byte(body)}
			return r.deliverResponse()
		})
		read(func(r *request) error {
			r.reply = fetch.NewReply(200, h, []byte(body), r.now)
			r.reply.Reason = []byte(reason)
			return r.deliverReply()
		})
		// From an origin, if its head is accepted.
		head := "HTTP/1.1 200 " + reason + "\r\n" + name + ": " + value + "\r\n\r\n"
		var s http1.Response
		if strings.ContainsAny(reason+value, "\r\n") || strings.ContainsAny(name, "\r\n:") || http1.NewReader(strings.NewReader(head)).ReadResponse(&s, false) != nil || s.Status != 200 {
			return
		}
		read(func(r *request) error {
			r.reply = fetch.NewReply(200, s.Header, []byte(body), r.now)
			r.reply.Reason = s.Reason
			return r.deliverReply()
		})
	})
}
