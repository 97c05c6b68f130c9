package node

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"perto"
	"perto/config"
	"perto/functions"
	"perto/metrics"
	"perto/mobility"
)

// FunctionStatus is the state of a function at a Node.
type FunctionStatus struct {
	Service   perto.Service     `json:"service"`
	Path      string            `json:"path"`
	Version   uint64            `json:"version"`          // the running version; 0 is the World's
	Digest    string            `json:"digest"`           // of the running version
	State     string            `json:"state"`            // "running", "absent" (pulled at the first request) or "failed"
	Wanted    string            `json:"wanted,omitempty"` // the desired version, when another one runs
	Error     string            `json:"error,omitempty"`
	Placement string            `json:"placement"`
	Phase     string            `json:"phase"`
	About     *functions.About  `json:"about,omitempty"`
	Requests  map[string]uint64 `json:"requests"` // by end
	Cold      uint64            `json:"cold_starts"`
	Instances int64             `json:"instances"`
	Memory    int64             `json:"memory_bytes"`
}

// FunctionStatus returns the functions at this Node, sorted by service and path. It is
// nil on a Node that runs none.
func (n *Node) FunctionStatus() []FunctionStatus {
	if n.functions == nil {
		return nil
	}
	out := []FunctionStatus{}
	n.functions.each(func(s *deployment) { out = append(out, s.status()) })
	return out
}

// each calls f for the deployments, sorted by name.
func (r *functionHost) each(f func(*deployment)) {
	r.mu.Lock()
	all := make([]*deployment, 0, len(r.deployments))
	for _, s := range r.deployments {
		all = append(all, s)
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b *deployment) int { return strings.Compare(a.name.String(), b.name.String()) })
	for _, s := range all {
		f(s)
	}
}

func (n functionName) String() string { return string(n.service) + n.path }

func (s *deployment) status() FunctionStatus {
	s.mu.Lock()
	f, failed := s.desired, s.failed
	s.mu.Unlock()
	x := FunctionStatus{Service: f.Service, Path: f.Path, Version: f.Version, Digest: f.Digest, State: "absent", Placement: placementOf(&f),
		Phase: f.Settings.Phase, Requests: make(map[string]uint64), Cold: s.stats.Cold.Value(), Instances: s.stats.Instances.Load(), Memory: s.stats.Memory.Load()}
	if now := s.running.Load(); now != nil {
		about := now.module.About()
		x.Version, x.Digest, x.State, x.About = now.version.Version, now.version.Digest, "running", &about
		if !sameCode(&now.version, &f) {
			x.Wanted = versionText(&f)
		}
	}
	if failed != nil {
		x.Error = failed.Error()
		if x.State == "absent" {
			x.State = "failed"
		}
	}
	for end, name := range functions.EndNames {
		x.Requests[name] = s.stats.Ended[end].Value()
	}
	return x
}

// measure registers the metrics of functions.
func (r *functionHost) measure() {
	m := r.node.metrics
	for end, name := range functions.EndNames {
		m.CounterSetFunc("perto_function_"+name+"_total", fmt.Sprintf("Requests to a function with the result %s.", name), "function", func(sample func(string, uint64)) {
			r.each(func(s *deployment) { sample(s.name.String(), s.stats.Ended[end].Value()) })
		})
	}
	m.CounterSetFunc("perto_function_cold_starts_total", "Instances of a function that were made.", "function", func(sample func(string, uint64)) {
		r.each(func(s *deployment) { sample(s.name.String(), s.stats.Cold.Value()) })
	})
	m.HistogramSetFunc("perto_function_seconds", "Time of a function for a request, without the time of the next handler and of subrequests.", "function", func(sample func(string, *metrics.Histogram)) {
		r.each(func(s *deployment) { sample(s.name.String(), &s.stats.Seconds) })
	})
	m.GaugeSet("perto_function_instances", "Instances of a function that exist.", "function", func(sample func(string, float64)) {
		r.each(func(s *deployment) { sample(s.name.String(), float64(s.stats.Instances.Load())) })
	})
	m.GaugeSet("perto_function_memory_bytes", "Size of the memories of a function's instances. Instances share pages that they have not written to.", "function", func(sample func(string, float64)) {
		r.each(func(s *deployment) { sample(s.name.String(), float64(s.stats.Memory.Load())) })
	})
}

// FunctionAPI returns the API that receives pushed functions, or nil on a Node that runs
// none. writeError writes an error response.
func (n *Node) FunctionAPI(writeError func(http.ResponseWriter, error)) http.Handler {
	if n.functions == nil {
		return nil
	}
	return mobility.Handler(mobility.Source{Store: n.functions.store, WriteError: writeError,
		Observed: func() any { return n.FunctionStatus() }, Check: func(s perto.Service) error { return checkService(&n.cfg().World, s) }, Logs: n.functions.logs})
}

// checkService returns an error when a name is no service of the World. A function there
// would never run.
func checkService(w *config.World, name perto.Service) error {
	e := &perto.Error{Op: "find service", Path: string(name), Kind: perto.KindInvalid}
	var known []string
	for _, s := range w.Services {
		if s.Name == name {
			return nil
		}
		if slices.Contains(s.Aliases, string(name)) {
			e.Err, e.Hint = errors.New("this is an alias"), "functions belong to the service: "+string(s.Name)
			return e
		}
		known = append(known, string(s.Name))
	}
	e.Err, e.Hint = errors.New("no service of this name is configured"), "configured services: "+strings.Join(known, ", ")
	if len(known) == 0 {
		e.Hint = ""
	}
	if best, ok := config.Closest(string(name), known); ok {
		e.Hint = fmt.Sprintf("did you mean %q?", best)
	}
	return e
}

// logs returns log lines of a function at this Node.
func (r *functionHost) logs(service perto.Service, path string, after uint64) (lines []mobility.LogLine, next uint64) {
	r.mu.Lock()
	s := r.deployments[functionName{service, path}]
	r.mu.Unlock()
	next = after
	if s == nil {
		return nil, next
	}
	kept, _ := s.logs.After(after)
	for _, l := range kept {
		lines = append(lines, mobility.LogLine{Number: l.Number, Time: l.Time, Level: l.Level.String(), Text: l.Text})
		next = l.Number
	}
	return lines, next
}
