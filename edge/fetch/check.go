package fetch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Check is a health check of an origin: a GET of a path. A well origin replies with a
// status from 200 to 299.
type Check struct {
	URL  string // of the origin, as in [Origin]
	Path string
	Host string // Host field to send; "" means the host of URL
}

const (
	// checkEvery is the time from one health check of an origin to the next.
	checkEvery = 5 * time.Second
	// checkTimeout bounds one health check.
	checkTimeout = 2 * time.Second
	// After checksDown failures in a row an origin is unwell. After checksUp successes
	// in a row it is well again.
	checksDown, checksUp = 3, 2
)

// checker runs the health checks of a client.
type checker struct {
	client *Client
	wake   chan struct{} // the checks have changed

	mu     sync.Mutex
	checks map[Check]*checked
}

// checked is a check and its results so far. Only the checker's goroutine changes it.
type checked struct {
	server *server
	stop   context.CancelFunc // nil when the check has not started
}

func newChecker(c *Client) *checker {
	return &checker{client: c, wake: make(chan struct{}, 1), checks: make(map[Check]*checked)}
}

// SetChecks replaces the health checks. An origin without a check counts as well.
// [Client.RunChecks] runs the checks.
func (c *Client) SetChecks(list []Check) error {
	k := c.checker
	k.mu.Lock()
	defer k.mu.Unlock()
	stay := make(map[Check]*checked)
	for _, check := range list {
		if old := k.checks[check]; old != nil {
			stay[check] = old
			continue
		}
		s, err := c.server(check.URL)
		if err != nil {
			return err
		}
		stay[check] = &checked{server: s}
	}
	for check, old := range k.checks {
		if stay[check] == nil {
			if old.stop != nil {
				old.stop()
			}
			old.server.setWell("")
		}
	}
	k.checks = stay
	select {
	case k.wake <- struct{}{}:
	default:
	}
	return nil
}

// RunChecks runs the health checks until the context ends.
func (c *Client) RunChecks(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	k := c.checker
	for {
		k.mu.Lock()
		for check, state := range k.checks {
			if state.stop != nil {
				continue
			}
			bounded, stop := context.WithCancel(ctx)
			state.stop = stop
			running.Go(func() { c.runCheck(bounded, check, state.server) })
		}
		k.mu.Unlock()
		select {
		case <-k.wake:
		case <-ctx.Done():
			return
		}
	}
}

// runCheck checks one origin until the context ends.
func (c *Client) runCheck(ctx context.Context, check Check, s *server) {
	// The transport's context for a dial does not end with the request, so that a dial
	// would outlive the check and the client.
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: s.tls, TLSHandshakeTimeout: checkTimeout,
		DialContext: func(_ context.Context, network, _ string) (net.Conn, error) {
			bounded, cancel := context.WithTimeout(ctx, checkTimeout)
			defer cancel()
			return c.cfg.Network.DialContext(bounded, network, s.address)
		}}
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	good, bad := 0, 0
	for {
		err := checkOnce(ctx, transport, check)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		switch {
		case bad == checksDown:
			if s.setWell(fmt.Sprintf("health check %s failed: %v", check.Path, err)) {
				s.changed()
			}
		case good == checksUp:
			if s.setWell("") {
				s.changed()
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func checkOnce(ctx context.Context, transport *http.Transport, check Check) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	u, err := url.Parse(check.URL)
	if err != nil {
		return err
	}
	ref, err := url.Parse(check.Path)
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.ResolveReference(ref).String(), nil)
	if err != nil {
		return err
	}
	q.Host = check.Host
	q.Header.Set("User-Agent", "perto health check")
	r, err := transport.RoundTrip(q) // follows no redirect
	if err != nil {
		return err
	}
	defer r.Body.Close()
	io.CopyN(io.Discard, r.Body, maxCheckBody)
	if r.StatusCode < 200 || r.StatusCode > 299 {
		return fmt.Errorf("status %d", r.StatusCode)
	}
	return nil
}

// maxCheckBody bounds the part of a health check's body that is read, in bytes.
const maxCheckBody = 64 << 10

// setWell stores the result of health checks: the reason why the server is unwell, or
// "". It reports whether the server became well or unwell.
func (s *server) setWell(unwell string) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = (s.unwell == "") != (unwell == "")
	s.unwell = unwell
	return changed
}

func (s *server) well() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unwell == ""
}
