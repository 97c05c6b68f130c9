package wan

import (
	"net/http"
	"net/netip"
	"time"

	"perto"
	"perto/internal/api"
)

// State is the state of a Wan in its API.
type State struct {
	Regions []RegionInfo `json:"regions"`
	Pairs   []Pair       `json:"pairs"`
	// Strays counts packets that were not between two regions.
	Strays uint64 `json:"strays"`
	// UnderWay is the number of packets in flight, and UnderWayBytes is their memory.
	UnderWay      int `json:"under_way"`
	UnderWayBytes int `json:"under_way_bytes"`
}

// RegionInfo is a Region in the API.
type RegionInfo struct {
	Name     string         `json:"name"`
	Prefixes []netip.Prefix `json:"prefixes"`
	Place    string         `json:"place"`
}

// Pair is one direction between two regions in the API.
type Pair struct {
	From          string  `json:"from"`
	To            string  `json:"to"`
	DelayMs       float64 `json:"delay_ms"` // one way
	JitterMs      float64 `json:"jitter_ms"`
	Reorder       bool    `json:"reorder"`
	Loss          float64 `json:"loss"`            // 0..1
	BitsPerSecond uint64  `json:"bits_per_second"` // 0 means no limit
	IsCut         bool    `json:"is_cut"`
	Counters
}

// State returns all regions and pairs, in the order of the configuration.
func (w *Wan) State() State {
	s := State{UnderWay: w.inFlight.Len()}
	for _, r := range w.cfg.Regions {
		s.Regions = append(s.Regions, RegionInfo{r.Name, r.Prefixes, r.Place.String()})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.directions {
		if d != nil {
			s.Pairs = append(s.Pairs, w.pair(d))
		}
	}
	s.Strays, s.UnderWayBytes = w.strays, w.memory
	return s
}

func (w *Wan) pair(d *direction) Pair {
	return Pair{From: w.cfg.Regions[d.from].Name, To: w.cfg.Regions[d.to].Name,
		DelayMs: milliseconds(d.now.Delay), JitterMs: milliseconds(d.now.Jitter), Reorder: d.now.Reorder,
		Loss: d.now.Loss, BitsPerSecond: d.now.Bandwidth, IsCut: d.now.Cut, Counters: d.counters}
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// Handler serves the API:
//
//	GET  /v1/wan   the State
//	POST /v1/wan   changes conditions. It reads form values (see ParseChange) and
//	               returns the changed pairs
//
// It refuses requests that a page of another origin could send, and hosts that are
// names (see api.Guard).
func (w *Wan) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/wan", func(rw http.ResponseWriter, r *http.Request) { api.WriteJSON(rw, w.State()) })
	mux.HandleFunc("POST /v1/wan", func(rw http.ResponseWriter, r *http.Request) {
		changed, err := w.change(rw, r)
		if err != nil {
			api.WriteError(rw, err)
			return
		}
		api.WriteJSON(rw, changed)
	})
	return api.Guard(mux)
}

// maxForm bounds a request's body, in bytes.
const maxForm = 64 << 10

func (w *Wan) change(rw http.ResponseWriter, r *http.Request) ([]Pair, error) {
	r.Body = http.MaxBytesReader(rw, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, &perto.Error{Op: "change wan", Kind: perto.KindInvalid, Err: err}
	}
	c, err := ParseChange(r.Form)
	if err != nil {
		return nil, err
	}
	return w.Apply(c)
}
