package node

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"time"
)

// measure makes the metrics of the Node itself. Its components make their own.
func (n *Node) measure() {
	m := n.metrics
	cfg := n.cfg()
	if cfg.Process {
		m.Process()
	}
	m.GaugeTable("perto_build_info", "1, with the version of the program.", []string{"version", "revision", "goversion"}, func(sample func(float64, ...string)) {
		sample(1, cfg.Version, revision(), runtime.Version())
	})
	m.GaugeSet("perto_config_info", "1, with the digest of the configuration that all machines share.", "digest", func(sample func(string, float64)) {
		sample(n.cfg().digest.String(), 1)
	})
	n.reloads = m.CounterSet("perto_config_reloads_total", "Reloads of the configuration, by result.", "result", reloadNames[:]...)
	m.Gauge("perto_config_last_reload_successful", "1 when the last reload was done, or none was tried, else 0.", func() float64 {
		if n.refused.Load() {
			return 0
		}
		return 1
	})
	m.Gauge("perto_config_loaded_timestamp_seconds", "When the current configuration took effect, in seconds since 1970.", func() float64 {
		return float64(n.loaded.Load()) / float64(time.Second)
	})
	m.GaugeSet("perto_dns_zone_serial", "Serial of a zone.", "zone", func(sample func(string, float64)) {
		if n.dns == nil {
			return
		}
		if view := n.dns.View(); view != nil {
			for i := range view.Zones().Len() {
				sample(cmp.Or(view.Zones().At(i).Name, "."), float64(view.Zones().At(i).Serial))
			}
		}
	})
	m.GaugeSet("perto_name_server_reached", "1 for a name server that acknowledges the heartbeats of this edge, else 0.", "server", func(sample func(string, float64)) {
		if n.sender == nil {
			return
		}
		for _, s := range n.nameServers() {
			value := 0.0
			if s.Fresh(time.Now()) {
				value = 1
			}
			sample(s.Name, value)
		}
	})
}

// revision returns the commit from which the program was built, or "unknown".
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
