package node

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestReloadChangesLimits changes limits of the edge, of its origins and of DNS. The
// stored reply stays, also when it is above the new limit.
func TestReloadChangesLimits(t *testing.T) {
	origin := limitsOrigin(t)
	cfg := edgeOnly(t, origin.URL, "")
	n := started(t, cfg)
	story := func(target string) string {
		return askEdge(t, n, "shop.cdn.example", target).Header.Get("Cache-Status")
	}
	// stored requests a target until its reply is a hit. The edge stores a reply a moment
	// after it has sent the last byte.
	stored := func(target string) bool {
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
			if strings.Contains(story(target), "; hit") {
				return true
			}
		}
		return false
	}
	// hold opens a connection of DNS over TCP and reports whether it is served.
	hold := func() (served bool) {
		c, err := net.Dial("tcp", n.DNSAddrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(5 * time.Second))
		conn := &dns.Conn{Conn: c}
		if conn.WriteMsg(new(dns.Msg).SetQuestion("ns1.cdn.example.", dns.TypeA)) != nil {
			return false
		}
		_, err = conn.ReadMsg()
		return err == nil
	}
	if !stored("/page") {
		t.Fatal("the page is not stored")
	}
	for i := range 2 {
		if served := hold(); !served {
			t.Fatalf("connection %d over TCP is not served", i+1)
		}
	}

	l := &cfg.Local.Limits
	l.Object, l.OriginFirstByte, l.DNSConnectionsPerClient = 1000, 100*time.Millisecond, 2
	if err := n.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if got := story("/page"); !strings.Contains(got, "; hit") {
		t.Errorf("the stored page: Cache-Status %q, want a hit", got)
	}
	if got := story("/other"); !strings.Contains(got, "detail=too-large") {
		t.Errorf("object: Cache-Status %q, want too-large", got)
	}
	if res := askEdge(t, n, "shop.cdn.example", "/slow"); res.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("origin_first_byte: status %d, want 504", res.StatusCode)
	}
	if served := hold(); served {
		t.Error("dns_connections_per_client: the third connection of 2 is served")
	}

	l.Object, l.DNSConnectionsPerClient = 0, 3
	if err := n.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if !stored("/other") {
		t.Error("object after the second reload: the reply is not stored")
	}
	if served := hold(); !served {
		t.Error("dns_connections_per_client after the second reload: the third connection of 3 is not served")
	}
}

// TestReloadOfSocketsNeedsNewProcess changes a listening address.
func TestReloadOfSocketsNeedsNewProcess(t *testing.T) {
	cfg := testConfig(t, nil)
	n := started(t, cfg)
	cfg.Local.HTTP = []string{"127.0.0.1:1"}
	if err := n.Reload(t.Context(), cfg); !errors.Is(err, ErrRestart) || !strings.Contains(err.Error(), "http") {
		t.Errorf("got %v, want ErrRestart that names http", err)
	}
}
