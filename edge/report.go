package edge

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"perto"
	"perto/edge/fetch"
	"perto/edge/http1"
)

const (
	// reportEvery is how often one kind of event is logged. An origin that is down
	// fails thousands of requests a second.
	reportEvery = 10 * time.Second
	// maxReports bounds the kinds that are told apart.
	maxReports = 256
	// knownHosts is how many hosts a line names.
	knownHosts = 20
)

// reports limits the rate of log lines by kind.
type reports struct {
	mu   sync.Mutex
	last map[reportKind]*reported
}

type reportKind struct{ event, origin, reason string }

type reported struct {
	at      time.Time
	omitted int // events since then that were not logged
}

// due tells whether an event of a kind is logged now, and how many of them were not
// since the last line.
func (r *reports) due(k reportKind, now time.Time) (omitted int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.last[k]
	switch {
	case s == nil:
		if r.last == nil || len(r.last) >= maxReports {
			r.last = make(map[reportKind]*reported)
		}
		r.last[k] = &reported{at: now}
		return 0, true
	case now.Sub(s.at) < reportEvery:
		s.omitted++
		return 0, false
	}
	omitted, s.omitted, s.at = s.omitted, 0, now
	return omitted, true
}

// originFailed counts and logs why an exchange with an origin failed.
func (r *request) originFailed(err error) {
	r.e.originFailed(err, r.route.site.Service, func() string { return string(r.authority) + string(r.target()) })
}

// failedLater returns what reports a fetch that this request began and that outlives
// it.
func (r *request) failedLater() func(error) {
	e, service, url := r.e, r.route.site.Service, string(r.authority)+string(r.target())
	return func(err error) { e.originFailed(err, service, func() string { return url }) }
}

// originFailed is the method of the request for a URL that is asked for only when a
// line is due. The reason of a bad reply is one of [http1.Refusal].
func (e *Edge) originFailed(err error, service perto.Service, url func() string) {
	f, ok := errors.AsType[*fetch.Error](err)
	if !ok || f.Cause == fetch.ClientGone {
		return
	}
	e.reachedBy(f.Cause)
	e.m.originFailures[f.Cause].Inc()
	k := reportKind{event: f.Cause.String(), origin: f.Origin}
	reason := ""
	if f.Err != nil {
		reason = f.Err.Error()
	}
	if refusal, ok := errors.AsType[http1.Refusal](err); ok {
		k.reason, reason = refusal.Error(), refusal.Error()
	}
	omitted, due := e.reports.due(k, time.Now())
	if !due {
		return
	}
	e.cfg.Logger.Warn("origin failed", "service", service, "origin", f.Origin, "cause", f.Cause.String(), "reason", reason,
		"url", cutText(url()), "omitted", omitted)
}

// hostUnknown logs a host that no site has, with those that the edge serves.
func (r *request) hostUnknown(t *table, name []byte) {
	if !r.e.cfg.Logger.Enabled(r.e.base, slog.LevelInfo) {
		return
	}
	omitted, due := r.e.reports.due(reportKind{event: "unknown host"}, r.now)
	if !due {
		return
	}
	var known []string
	for h := range t.all() {
		if len(known) == knownHosts {
			known = append(known, "...")
			break
		}
		known = append(known, h)
	}
	r.e.cfg.Logger.Info("no service has this host", "host", cutText(string(name)), "known", known, "omitted", omitted,
		"hint", "add it to the aliases of its service")
}

// cutText bounds what a client can write into a log line.
func cutText(s string) string { return s[:min(len(s), loggedBytes)] }
