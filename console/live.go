package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// stateEvery is the interval at which viewers receive a changed state.
	stateEvery = 200 * time.Millisecond
	// trafficEvery is the interval at which viewers receive counters.
	trafficEvery = 2 * time.Second
	// sampleEvery is the interval of the series.
	sampleEvery = time.Second
	// keptSamples is the length of the series: 15 minutes.
	keptSamples = 900
	// streamWait is the timeout of one write to a viewer. A viewer that reads slower is
	// disconnected, and its browser connects again.
	streamWait = 10 * time.Second
)

// Sample is a second of the series.
type Sample struct {
	At       int64   `json:"at_ms"` // Unix time in ms
	Queries  float64 `json:"queries_per_s"`
	Requests float64 `json:"requests_per_s"`
	// HitRatio is the share of requests answered from caches, 0..1. It is -1 in a second
	// without requests.
	HitRatio  float64 `json:"hit_ratio"`
	Failed    float64 `json:"failed_per_s"`
	FirstByte float64 `json:"first_byte_ms"` // median wait of the vantages; 0: no visit
}

// series keeps the last samples.
type series struct {
	mu      sync.Mutex
	samples []Sample            // oldest first
	last    map[string]Counters // of each node
	lastAt  time.Time
}

// add makes a sample from the totals of all nodes at a time. A node that appears counts
// from its next sample on, and a node that disappears counts nothing.
func (s *series) add(at time.Time, totals map[string]Counters, firstByte float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastAt.IsZero() {
		s.last, s.lastAt = totals, at
		return
	}
	seconds := at.Sub(s.lastAt).Seconds()
	if seconds <= 0 {
		return
	}
	var d Counters
	for name, now := range totals {
		if before, ok := s.last[name]; ok {
			d.Add(now.since(before))
		}
	}
	s.last, s.lastAt = totals, at
	x := Sample{At: at.UnixMilli(), Queries: float64(d.Queries) / seconds, Requests: float64(d.Requests) / seconds, HitRatio: -1, Failed: float64(d.Failed) / seconds, FirstByte: firstByte}
	if d.Requests > 0 {
		x.HitRatio = float64(d.Hits) / float64(d.Requests)
	}
	if len(s.samples) == keptSamples {
		s.samples = append(s.samples[:0:0], s.samples[1:]...)
	}
	s.samples = append(s.samples, x)
}

// after returns the samples later than a time in Unix ms.
func (s *series) after(ms int64) []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := len(s.samples)
	for i > 0 && s.samples[i-1].At > ms {
		i--
	}
	return slices.Clone(s.samples[i:])
}

// sample makes the series until the context ends.
func (c *Console) sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		c.series.add(time.Now(), c.cfg.Totals(ctx), c.cfg.Visits.take())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// serveEvents streams the state and the series as server-sent events. The state is sent
// when it has changed, and viewers that read slowly get only the newest one.
func (c *Console) serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	send := func(event string, value any) bool {
		body, err := json.Marshal(value)
		if err != nil {
			return false
		}
		_ = out.SetWriteDeadline(time.Now().Add(streamWait)) // in tests the writer has none
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, body); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	var sent []byte // the last state, without traffic
	var sentAt time.Time
	var last int64
	tick := time.NewTicker(stateEvery)
	defer tick.Stop()
	for {
		s := c.state(r.Context())
		now, err := json.Marshal(withoutTraffic(s))
		if err == nil && (!bytes.Equal(now, sent) || time.Since(sentAt) >= trafficEvery) {
			sent, sentAt = now, time.Now()
			if !send("state", s) {
				return
			}
		}
		samples := c.series.after(last)
		if len(samples) > 0 {
			last = samples[len(samples)-1].At
			if !send("samples", samples) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-c.done:
			return
		}
	}
}

// withoutTraffic returns a copy whose time, counters and loads are zero. Other changes are
// a reason to send the state at once.
func withoutTraffic(s *State) *State {
	out := *s
	out.At = time.Time{}
	out.Edges = append([]Edge{}, s.Edges...)
	for i := range out.Edges {
		e := &out.Edges[i]
		e.Count, e.Load, e.Objects, e.Bytes = Counters{}, 0, 0, 0
	}
	return &out
}
