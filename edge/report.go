package edge

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"perto"
	"perto/edge/fetch"
	"perto/edge/http1"
	"perto/internal/fields"
	"perto/internal/urlmap"
)

const (
	// reportEvery is the minimum time between two log lines of one kind. Without it, an
	// origin that is down could cause thousands of lines a second.
	reportEvery = 10 * time.Second
	// maxReports bounds the number of kinds.
	maxReports = 256
	// knownHosts is the maximum number of hosts in a line.
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
	omitted int // number of events since then that were not logged
}

// due reports whether an event of a kind must be logged now. omitted is the number of
// events since the last line.
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

// failedLater returns a function that reports the failure of a fetch that outlives this
// request.
func (r *request) failedLater() func(error) {
	e, service, url := r.e, r.route.site.Service, string(r.authority)+string(r.target())
	return func(err error) { e.originFailed(err, service, func() string { return url }) }
}

// originFailed counts and logs why an exchange with an origin failed. It calls url only
// when a log line is due. The reason of a bad reply is an [http1.Refusal].
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

// noteUpgrade records that the origin redirects the client to https at the same host,
// which the edge does not serve yet. Without this note, such a redirect looks like an
// edge that refuses connections.
func (r *request) noteUpgrade(status int, h fields.Header) {
	if status < 300 || status > 399 || !redirectsToHTTPS(h, r.authority) {
		return
	}
	r.detail = "redirect-to-https"
	omitted, due := r.e.reports.due(reportKind{event: r.detail, origin: string(r.route.site.Service)}, r.now)
	if due {
		r.e.cfg.Logger.Warn("origin redirects to https, which this edge does not serve", "service", r.route.site.Service,
			"url", cutText(string(r.authority)+string(r.target())), "omitted", omitted)
	}
}

// redirectsToHTTPS reports whether Location has the host of the client's request, with
// https.
func redirectsToHTTPS(h fields.Header, authority []byte) bool {
	to, ok := h.Get("location")
	m := urlmap.Map{Client: urlmap.Server{Scheme: scheme, Authority: string(authority)}}
	return ok && m.Upgrades(string(to))
}

// hostUnknown logs a host that no site has, with the hosts that the edge serves.
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

// cutText bounds the length of text from clients in a log line.
func cutText(s string) string { return s[:min(len(s), loggedBytes)] }
