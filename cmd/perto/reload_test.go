package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"perto/replicas"
)

// queryLoad sends queries at a steady rate over one socket and counts the responses.
type queryLoad struct {
	conn     net.Conn
	sent     atomic.Int64
	answered atomic.Int64
	stop     chan struct{}
	done     sync.WaitGroup
}

const (
	loadTick      = 5 * time.Millisecond // queries of this time are sent together
	loadReadLimit = 20 * time.Second     // a response that comes later counts as lost
)

func startQueryLoad(t *testing.T, port, perSecond int) *queryLoad {
	t.Helper()
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	// The client's own buffer must not overflow first.
	conn.(*net.UDPConn).SetReadBuffer(4 << 20)
	l := &queryLoad{conn: conn, stop: make(chan struct{})}
	l.done.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			if n > 12 && b[3]&0xf == dns.RcodeSuccess {
				l.answered.Add(1)
			}
		}
	})
	l.done.Go(func() {
		m := new(dns.Msg).SetQuestion("shop.cdn.example.", dns.TypeA)
		query, _ := m.Pack()
		ticker := time.NewTicker(loadTick)
		defer ticker.Stop()
		began := time.Now()
		for {
			select {
			case <-l.stop:
				// The reader ends when all responses have arrived, or at the deadline.
				conn.SetReadDeadline(time.Now().Add(loadReadLimit))
				return
			case <-ticker.C:
			}
			due := int64(time.Since(began) * time.Duration(perSecond) / time.Second)
			for sent := l.sent.Load(); sent < due; sent = l.sent.Add(1) {
				query[0], query[1] = byte(sent>>8), byte(sent)
				conn.Write(query) // an unsent query counts as lost
			}
		}
	})
	return l
}

// end stops sending. It returns the numbers of sent and unanswered queries.
func (l *queryLoad) end() (sent, lost int) {
	close(l.stop)
	give := time.After(loadReadLimit)
	ticker := time.NewTicker(loadTick)
	defer ticker.Stop()
	for {
		select {
		case <-give:
		case <-ticker.C:
			if l.answered.Load() < l.sent.Load() {
				continue
			}
		}
		break
	}
	l.conn.Close()
	l.done.Wait()
	sent = int(l.sent.Load())
	return sent, sent - int(l.answered.Load())
}

// pageLoad fetches a page over persistent connections and counts failures.
type pageLoad struct {
	stop   chan struct{}
	done   sync.WaitGroup
	pages  atomic.Int64
	hits   atomic.Int64
	failed atomic.Int64
	first  atomic.Pointer[string]
}

func startPageLoad(port, clients int) *pageLoad {
	l := &pageLoad{stop: make(chan struct{})}
	for range clients {
		l.done.Go(func() {
			c := &pageClient{port: port}
			for {
				select {
				case <-l.stop:
					c.hangUp()
					return
				default:
				}
				hit, err := c.fetch()
				l.pages.Add(1)
				if err != nil {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, new(err.Error()))
					c.hangUp()
				}
				if hit {
					l.hits.Add(1)
				}
			}
		})
	}
	return l
}

// pageClient fetches over one connection while the server keeps it. Go's own client would
// repeat a request after a lost connection and hide the loss.
type pageClient struct {
	port int
	conn net.Conn
	in   *bufio.Reader
}

func (c *pageClient) fetch() (hit bool, err error) {
	if c.conn == nil {
		if c.conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.port)); err != nil {
			return false, err
		}
		c.in = bufio.NewReader(c.conn)
	}
	c.conn.SetDeadline(time.Now().Add(loadReadLimit))
	if _, err := io.WriteString(c.conn, "GET /page HTTP/1.1\r\nHost: shop.cdn.example\r\n\r\n"); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && string(b) != "from the origin" {
		err = fmt.Errorf("status %d, body %q", resp.StatusCode, b)
	}
	if resp.Close {
		c.hangUp()
	}
	return strings.Contains(resp.Header.Get("Cache-Status"), "; hit"), err
}

func (c *pageClient) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (l *pageLoad) end() {
	close(l.stop)
	l.done.Wait()
}

// TestReloadLosesNothing reloads a node that answers 2,000 queries a second and serves
// pages over persistent connections. It reloads the same file, one with a new zone, key,
// alias and cache size, one with a mistake, and one with a new API address.
func TestReloadLosesNothing(t *testing.T) {
	var fetched atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		w.Header().Set("Cache-Control", "s-maxage=600")
		io.WriteString(w, "from the origin")
	}))
	defer origin.Close()
	n := startNode(t, origin.URL)
	if got := pageOf(t, n.httpPort, "shop.cdn.example", "/page"); got != "from the origin" {
		t.Fatalf("the first page: got %q", got)
	}
	queries, pages := startQueryLoad(t, n.dnsPort, 2000), startPageLoad(n.httpPort, 4)
	worker := childOf(t, n.process.Process.Pid)
	reload := func(says string, times int) {
		t.Helper()
		n.process.Process.Signal(syscall.SIGHUP)
		n.log.waitForMany(t, says, times)
	}
	const done = "the configuration is reloaded"
	reload(done, 1)

	n.write("cdn.zone", testZone(2))
	n.write("key", replicas.NewKey().File())
	n.write("perto.hcl", n.config(origin.URL, "cache = \"32MiB\"\n  limits { origin_exchanges = 2 }", `aliases = ["www.shop.example"]`))
	reload(done, 2)
	if got := ask(t, n.dnsPort, "serial.cdn.example."); got != "192.0.2.2" {
		t.Errorf("the new zone: got %q, want 192.0.2.2", got)
	}
	if got := pageOf(t, n.httpPort, "www.shop.example", "/page"); got != "from the origin" {
		t.Errorf("the new alias: got %q", got)
	}
	n.write("cdn.zone", "@ IN SOA")
	reload("not reloaded, the old configuration stays in force", 1)
	if got := ask(t, n.dnsPort, "serial.cdn.example."); got != "192.0.2.2" {
		t.Errorf("after a mistake: got %q, want the zone of before", got)
	}
	n.write("cdn.zone", testZone(3))
	reload(done, 3)
	if now := childOf(t, n.process.Process.Pid); now != worker {
		t.Errorf("the worker was replaced: process %d, then %d", worker, now)
	}
	if got := fetched.Load(); got != 2 { // one for each name
		t.Errorf("the origin was asked %d times: the cache was lost", got)
	}
	// The API's address is a socket of the parent, so a new worker takes over.
	n.apiPort = freePort(t)
	n.write("perto.hcl", n.config(origin.URL, "", ""))
	reload("reloaded by a new process", 1)
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", n.apiPort))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()

	pages.end()
	sent, lost := queries.end()
	t.Logf("%d queries, %d lost; %d pages, %d failed, %d hits", sent, lost, pages.pages.Load(), pages.failed.Load(), pages.hits.Load())
	if sent == 0 || lost != 0 {
		t.Errorf("%d of %d queries were lost", lost, sent)
	}
	if failed := pages.failed.Load(); failed != 0 || pages.pages.Load() == 0 {
		t.Errorf("%d of %d pages failed: %s", failed, pages.pages.Load(), *pages.first.Load())
	}
	n.process.Process.Signal(syscall.SIGTERM)
	if err := n.process.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
}

// ask returns the first address of a name, or the response code.
func ask(t *testing.T, port int, name string) string {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, dns.TypeA)
	in, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range in.Answer {
		if a, ok := r.(*dns.A); ok {
			return a.A.String()
		}
	}
	return dns.RcodeToString[in.Rcode]
}

// pageOf returns the body of a page, or the error.
func pageOf(t *testing.T, port int, host, path string) string {
	t.Helper()
	req, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// TestCrashLosesFewQueries kills the worker under a steady load of queries. Queries wait
// in the parent's socket while the next worker loads; only those that the dead worker
// had read are lost.
func TestCrashLosesFewQueries(t *testing.T) {
	origin := httptest.NewServer(http.NotFoundHandler())
	defer origin.Close()
	n := startNode(t, origin.URL)
	queries := startQueryLoad(t, n.dnsPort, 500)
	for round := range 2 {
		crashed := time.Now()
		syscall.Kill(childOf(t, n.process.Process.Pid), syscall.SIGKILL)
		n.log.waitForMany(t, "the node is up", 2+round)
		t.Logf("a new worker serves after %v", time.Since(crashed))
	}
	sent, lost := queries.end()
	t.Logf("%d queries, %d lost", sent, lost)
	if sent == 0 || lost > 2*maxLostByACrash {
		t.Errorf("%d of %d queries were lost", lost, sent)
	}
	n.process.Process.Signal(syscall.SIGTERM)
	n.process.Wait()
}

// maxLostByACrash is how many queries a crash may lose: some batches that the worker
// had read.
const maxLostByACrash = 20
