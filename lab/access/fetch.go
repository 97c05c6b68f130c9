package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"perto"
)

// Fetched is one fetch from a vantage, with its times.
type Fetched struct {
	Vantage string     `json:"vantage"`
	Place   string     `json:"place"`
	URL     string     `json:"url"`
	Server  string     `json:"server"` // the host that replied ("gru-1")
	Address netip.Addr `json:"address"`

	DNS       perto.Millis `json:"dns_ms"`
	Connect   perto.Millis `json:"connect_ms"`
	FirstByte perto.Millis `json:"first_byte_ms"` // from the request's last byte to the reply's first
	Total     perto.Millis `json:"total_ms"`

	Status int         `json:"status"`
	Bytes  int64       `json:"bytes"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"-"`

	Proximity *Proximity `json:"proximity,omitempty"` // nil when the server is no edge

	Error string `json:"error,omitempty"`
}

// Wait returns the time from the start of the fetch to the first byte.
func (f *Fetched) Wait() time.Duration { return (f.DNS + f.Connect + f.FirstByte).Duration() }

// maxBody bounds the part of a body that a fetch reads, in bytes.
const maxBody = 64 << 20

// fetchWait is the timeout of a fetch.
const fetchWait = 60 * time.Second

// ParseURL reads the URL of a fetch. Without a scheme it is an http URL.
func ParseURL(text string) (*url.URL, error) {
	full := text
	if !strings.Contains(text, "://") {
		full = "http://" + text
	}
	u, err := url.Parse(full)
	switch {
	case err != nil || u.Hostname() == "":
		err = errors.New(`not an http URL; it takes "http://host/path"`)
	case u.Scheme == "https":
		err = errors.New(`edges serve no https yet; it takes "http://host/path"`)
	case u.Scheme != "http":
		err = errors.New(`not an http URL; it takes "http://host/path"`)
	case strings.HasSuffix(u.Host, ":"):
		err = errors.New("the port is missing")
	case u.Port() != "":
		if n, perr := strconv.ParseUint(u.Port(), 10, 16); perr != nil || n == 0 {
			err = errors.New("the port is not between 1 and 65535")
		}
	}
	if err != nil {
		return nil, &perto.Error{Op: "read URL", Path: text, Kind: perto.KindInvalid, Err: err}
	}
	return u, nil
}

// Fetch fetches a URL like a browser. It asks the client's resolver, opens a new
// connection, and tries the next address when one does not reply.
func (c *Client) Fetch(ctx context.Context, target string) (*Fetched, error) {
	u, err := ParseURL(target)
	if err != nil {
		return nil, err
	}
	port := uint64(80)
	if p := u.Port(); p != "" {
		port, _ = strconv.ParseUint(p, 10, 16) // ParseURL has checked it
	}
	target = u.String()
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	f := &Fetched{Vantage: c.Station.Name, URL: target}
	start := time.Now()
	failed := func(step string, err error) (*Fetched, error) {
		f.Total = perto.Millis(time.Since(start))
		return nil, &perto.Error{Op: "fetch " + target + " from " + c.Station.Name + ": " + step, Kind: perto.KindUnavailable, Err: err}
	}
	addrs, took, err := c.Lookup(ctx, u.Hostname())
	f.DNS = perto.Millis(took)
	if err != nil {
		return failed("DNS", err)
	}
	resp, step, err := c.firstReply(ctx, f, u, addrs, uint16(port))
	if err != nil {
		return failed(step, err)
	}
	defer resp.Body.Close()
	f.Status, f.Header = resp.StatusCode, resp.Header
	f.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	f.Bytes = int64(len(f.Body))
	if err != nil {
		return failed("body", err)
	}
	f.Total = perto.Millis(time.Since(start))
	return f, nil
}

// replyWait is the time in which a connected server must begin its reply while there
// are other addresses. A frozen host accepts connections too, because its kernel does.
const replyWait = 3 * time.Second

// firstReply asks one address after the other until one begins to reply. A GET may be
// sent again (RFC 9110, section 9.2.2). step is the step that failed.
func (c *Client) firstReply(ctx context.Context, f *Fetched, u *url.URL, addrs []netip.Addr, port uint16) (resp *http.Response, step string, err error) {
	for {
		start := time.Now()
		conn, err := c.DialAddrs(ctx, "tcp", addrs, port)
		if err != nil {
			return nil, "connect", err
		}
		f.Connect = perto.Millis(time.Since(start))
		f.Address = addrOf(conn.RemoteAddr())
		f.Server = c.Station.nameOf(f.Address)
		addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a == f.Address })
		asking, giveUp := context.WithCancel(ctx)
		late := time.NewTimer(replyWait)
		if len(addrs) > 0 {
			late = time.AfterFunc(replyWait, giveUp)
		}
		resp, err := f.exchange(asking, conn, u)
		late.Stop()
		if err == nil {
			context.AfterFunc(ctx, giveUp) // the body is read within the fetch's own time
			return resp, "", nil
		}
		giveUp()
		if len(addrs) == 0 || ctx.Err() != nil {
			return nil, "HTTP", err
		}
	}
}

// exchange sends a GET over an open connection.
func (f *Fetched) exchange(ctx context.Context, conn net.Conn, u *url.URL) (*http.Response, error) {
	var written time.Time
	trace := &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { written = time.Now() },
		GotFirstResponseByte: func() { f.FirstByte = perto.Millis(time.Since(written)) },
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), "GET", u.String(), nil)
	if err != nil {
		conn.Close()
		return nil, err
	}
	req.Header.Set("User-Agent", "perto-lab")
	req.Close = true
	once := conn
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		if once == nil {
			return nil, errors.New("the connection was lost before a reply came")
		}
		c := once
		once = nil
		return c, nil
	}}
	resp, err := transport.RoundTrip(req)
	if err != nil && once != nil {
		once.Close()
	}
	return resp, err
}

// String returns the times in one line.
func (f *Fetched) String() string {
	ms := func(d perto.Millis) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }
	return fmt.Sprintf("%d from %s: DNS %s, connect %s, first byte %s, total %s", f.Status, f.Server, ms(f.DNS), ms(f.Connect), ms(f.FirstByte), ms(f.Total))
}
