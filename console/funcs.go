package console

import (
	"fmt"
	"html/template"
	"strings"
	"time"
)

// pageFuncs are the functions of the templates.
func pageFuncs() template.FuncMap {
	return template.FuncMap{
		"ms":    func(x float64) string { return fmt.Sprintf("%.0f ms", x) },
		"km":    func(x float64) string { return fmt.Sprintf("%.0f km", x) },
		"size":  size,
		"share": func(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) },
		"ago": func(t time.Time) string {
			if t.IsZero() {
				return "–"
			}
			return ago(time.Since(t))
		},
		"clock": func(t time.Time) string { return t.Format("15:04:05") },
		"join":  func(list []string) string { return strings.Join(list, ", ") },
		"lower": strings.ToLower,
		"times": func(n int) []struct{} { return make([]struct{}, max(0, n)) },
		"percent": func(c Counters) string {
			if c.Requests == 0 {
				return "–"
			}
			return fmt.Sprintf("%.0f %%", 100*float64(c.Hits)/float64(c.Requests))
		},
		"edgesOf": func(s *State, pop string) (out []Edge) {
			for _, e := range s.Edges {
				if e.PoP == pop {
					out = append(out, e)
				}
			}
			return out
		},
		"servedBy": func(s *State, pop string) (out []Vantage) {
			for _, v := range s.Vantages {
				if v.PoP == pop {
					out = append(out, v)
				}
			}
			return out
		},
		"actions": actions,
		"action":  func(host, do, text string) any { return button{host, do, text} },
		"recent": func(list []Sample) []Sample {
			return list[max(0, len(list)-10):]
		},
		"unixClock": func(ms int64) string { return time.UnixMilli(ms).Format("15:04:05") },
		"farthest": func(s *State) (far *Vantage) {
			for i := range s.Vantages {
				if v := &s.Vantages[i]; v.Far && (far == nil || v.Km-v.NearestKm > far.Km-far.NearestKm) {
					far = v
				}
			}
			return far
		},
		"edgeOf": func(s *State, name string) *Edge {
			return find(s.Edges, name, func(e *Edge) string { return e.Name })
		},
	}
}

// button is an action that a page offers.
type button struct{ Host, Do, Text string }

// actions returns the actions for a host, by its fault.
func actions(host, fault string) []button {
	if fault != "" {
		return []button{{host, "heal", "heal"}}
	}
	return []button{{host, "kill", "kill"}, {host, "freeze", "freeze"}, {host, "cut", "cut"}}
}

// size returns a number of bytes in words.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}

// ago returns a time span in words of one unit.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}
