package fetch

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perto/internal/netx"
	"perto/internal/simnet"
)

// silentNetwork is a network on which connections are neither accepted nor refused.
type silentNetwork struct {
	netx.Network
	dials atomic.Int32 // running
}

func (n *silentNetwork) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	n.dials.Add(1)
	defer n.dials.Add(-1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestHealthChecksEndTheirDials checks that no dial of a health check outlives its
// timeout or RunChecks. http.Transport dials with a context of its own.
func TestHealthChecksEndTheirDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &silentNetwork{Network: simnet.New(0, simnet.Link{}).Named("edge")}
		c := NewClient(Config{Name: "perto-test", Network: network})
		if err := c.SetChecks([]Check{{URL: "http://a", Path: "/health"}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.RunChecks(ctx)
		}()
		for _, after := range []struct {
			time  time.Duration
			dials int32
		}{{time.Second, 1}, {2 * time.Second, 0}, {3 * time.Second, 1}} {
			time.Sleep(after.time)
			synctest.Wait()
			if n := network.dials.Load(); n != after.dials {
				t.Errorf("%v later: %d dials, want %d", after.time, n, after.dials)
			}
		}
		cancel()
		<-done
		synctest.Wait()
		if n := network.dials.Load(); n != 0 {
			t.Errorf("%d dials after RunChecks returned", n)
		}
	})
}
