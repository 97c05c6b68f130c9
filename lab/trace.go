package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"perto"
	"perto/lab/access"
)

// Step is one numbered step of a request, like in the usual picture of Akamai's
// network: a question from one host to another, its result and its duration.
type Step struct {
	Number int          `json:"number"`
	Parent int          `json:"parent,omitempty"` // the step that caused this one and whose time includes it; 0: the client
	From   string       `json:"from"`
	To     string       `json:"to"`
	What   string       `json:"what"`
	Result string       `json:"result"`
	Took   perto.Millis `json:"took_ms"`

	FromPlace perto.Place `json:"from_place"`
	ToPlace   perto.Place `json:"to_place"`
}

// Trace has all steps of a request from a vantage.
type Trace struct {
	Vantage string       `json:"vantage"`
	URL     string       `json:"url"`
	Steps   []Step       `json:"steps"`
	Total   perto.Millis `json:"total_ms"` // the sum of the client's own steps

	Proximity *access.Proximity `json:"proximity,omitempty"` // nil when the server is no edge
}

// add appends a step and returns its number.
func (t *Trace) add(s Step) int {
	s.Number = len(t.Steps) + 1
	t.Steps = append(t.Steps, s)
	if s.Parent == 0 {
		t.Total += s.Took
	}
	return s.Number
}

// Depth returns the number of steps that enclose a step.
func (t *Trace) Depth(s *Step) (depth int) {
	for parent := s.Parent; parent > 0; parent = t.Steps[parent-1].Parent {
		depth++
	}
	return depth
}

// Trace fetches a URL from a vantage and records every step. It empties the caches of
// the resolver and of the client first.
func (l *Lab) Trace(ctx context.Context, v *Vantage, target string) (*Trace, error) {
	u, err := access.ParseURL(target)
	if err != nil {
		return nil, err
	}
	t := &Trace{Vantage: v.Name, URL: u.String()}
	r := l.ResolverOf(v)
	if r == nil {
		return nil, &perto.Error{Op: "trace", Path: v.Name, Kind: perto.KindInternal, Err: fmt.Errorf("the vantage has no resolver")}
	}
	r.Flush()
	v.Client.Forget()
	if _, err := netip.ParseAddr(u.Hostname()); err != nil {
		if err := l.traceDNS(ctx, t, v, r, u.Hostname()); err != nil {
			return t, err
		}
	}
	f, err := v.Fetch(ctx, t.URL)
	if err != nil {
		return t, err
	}
	t.Proximity = l.proximity(v, f)
	l.traceHTTP(t, v, f)
	return t, nil
}

// traceDNS adds the client's query and the queries of its resolver.
func (l *Lab) traceDNS(ctx context.Context, t *Trace, v *Vantage, r *Resolver, name string) error {
	start := time.Now()
	number := t.add(Step{From: v.Name, To: r.Host.Name, What: "where is " + name + "?", FromPlace: v.Place, ToPlace: r.Host.End.Place})
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), dns.TypeA)
	// Resolve is called directly, to record each query of the resolver.
	reply := r.Resolve(ctx, m, v.Host.Addrs[0], func(h access.Hop) {
		what := h.Type + " " + strings.TrimSuffix(h.Name, ".")
		if h.ECS != "" {
			what += " for a client in " + h.ECS
		}
		s := Step{Parent: number, From: h.From, To: h.To, What: what, Result: h.Result, Took: perto.Millis(h.Took), FromPlace: r.Host.End.Place}
		if to := l.Internet.HostAt(h.ToAddr, r.Host); to != nil {
			s.ToPlace = to.End.Place
		}
		t.add(s)
	})
	ask := &t.Steps[number-1]
	ask.Took = perto.Millis(time.Since(start) + l.Internet.paths.RTT(v.Host.End, r.Host.End))
	t.Total += ask.Took
	var names []string
	for _, a := range access.Addresses(reply) {
		if h := l.Internet.HostAt(a, v.Host); h != nil {
			names = append(names, h.Name)
		}
	}
	ask.Result = strings.Join(names, ", ")
	if len(names) == 0 {
		ask.Result = dns.RcodeToString[reply.Rcode]
		return &perto.Error{Op: "trace", Path: t.URL, Kind: perto.KindUnavailable, Err: fmt.Errorf("the resolver replied %s and names no address", ask.Result)}
	}
	return nil
}

// traceHTTP adds the request to the edge and, when the edge asked it, to the origin.
func (l *Lab) traceHTTP(t *Trace, v *Vantage, f *Fetched) {
	edge := l.Internet.Host(f.Server)
	timing := strings.Join(f.Header.Values("Server-Timing"), ",")
	s := Step{From: v.Name, To: f.Server, What: "GET " + f.URL, Took: f.Total - f.DNS, FromPlace: v.Place,
		Result: fmt.Sprintf("%d, %d bytes; Cache-Status: %s", f.Status, f.Bytes, strings.Join(f.Header.Values("Cache-Status"), ", "))}
	if took, ok := serverTiming(timing, "fn"); ok {
		s.Result += fmt.Sprintf("; a function of the edge took %.1f ms", float64(took)/float64(time.Millisecond))
	}
	if edge != nil {
		s.ToPlace = edge.End.Place
	}
	number := t.add(s)
	result, asked := originStep(f.Header.Values("Cache-Status"))
	if origin := l.Internet.Host("origin"); origin != nil && edge != nil && asked {
		took, _ := serverTiming(timing, "origin")
		t.add(Step{Parent: number, From: f.Server, To: "origin", What: "GET " + f.URL, FromPlace: edge.End.Place, ToPlace: origin.End.Place,
			Result: result, Took: perto.Millis(took)})
	}
}

// originStep reads from Cache-Status (RFC 9211) whether the edge asked the origin for
// this reply, and the result. The last member is that of the edge.
func originStep(cacheStatus []string) (result string, asked bool) {
	if len(cacheStatus) == 0 {
		return "", false
	}
	members := strings.Split(cacheStatus[len(cacheStatus)-1], ",")
	for p := range strings.SplitSeq(members[len(members)-1], ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		switch {
		case name == "fwd-status":
			return value, true
		case name == "detail" && strings.HasPrefix(value, "origin-") && value != "origin-down" && value != "origin-busy":
			return "no reply: " + value, true
		}
	}
	return "", false
}

// serverTiming reads a duration from Server-Timing, for example "origin;dur=123.4".
func serverTiming(header, name string) (took time.Duration, ok bool) {
	for metric := range strings.SplitSeq(header, ",") {
		key, parameters, _ := strings.Cut(strings.TrimSpace(metric), ";")
		if key != name {
			continue
		}
		for p := range strings.SplitSeq(parameters, ";") {
			var ms float64
			if _, err := fmt.Sscanf(strings.TrimSpace(p), "dur=%g", &ms); err == nil {
				return time.Duration(ms * float64(time.Millisecond)), true
			}
		}
	}
	return 0, false
}
