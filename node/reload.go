package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"perto"
	"perto/config"
)

// ErrRestart is wrapped by the error of a [Node.Reload] that needs a new Node: sockets,
// roles and folders cannot change in a running Node.
var ErrRestart = errors.New("this change needs a new process")

// reloadTimeout is the longest time that a reload waits for the registry. The registry
// responds within milliseconds unless the machine is stalled.
const reloadTimeout = 10 * time.Second

// Results of reloads, for the metric's label.
const (
	reloadDone = iota
	reloadRefused
)

var reloadNames = [...]string{"done", "refused"}

// use makes a configuration the current one.
func (n *Node) use(cfg *Config) {
	cfg.digest = digestOf(&cfg.World)
	n.current.Store(cfg)
	n.loaded.Store(time.Now().UnixNano())
}

// ReloadRefused counts a reload that failed before [Node.Reload] was called, for example
// because the file has a mistake.
func (n *Node) ReloadRefused() {
	n.refused.Store(true)
	n.reloads[reloadRefused].Inc()
}

// Reload replaces the configuration of a started Node while it serves. Sockets, cache,
// connections and the state of the replicas stay. Running requests finish with the old
// configuration. When it returns an error, nothing has changed. The error wraps
// [ErrRestart] when the change needs a new Node.
func (n *Node) Reload(ctx context.Context, cfg Config) error {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	cfg.Logger, cfg.Network = n.cfg().Logger, n.cfg().Network
	err := n.reload(ctx, &cfg)
	switch {
	case err == nil:
		n.refused.Store(false)
		n.reloads[reloadDone].Inc()
	case !errors.Is(err, ErrRestart):
		n.ReloadRefused()
	}
	return err
}

func (n *Node) reload(ctx context.Context, cfg *Config) error {
	warnings, err := ZoneChanges(n.cfg().World.Zones, cfg.World.Zones)
	for _, text := range warnings {
		cfg.Logger.Warn(text)
	}
	if err != nil {
		return err
	}
	if what := restartFor(n.cfg(), cfg); what != "" {
		return &perto.Error{Op: "reload", Path: cfg.Local.Name, Kind: perto.KindConflict, Err: fmt.Errorf("%s changed: %w", what, ErrRestart)}
	}
	// First all steps that can fail.
	var decided *decider
	var hosts map[perto.Service][]string
	if n.dns != nil {
		if decided, err = newDecider(&cfg.World, cfg.Geo); err != nil {
			return err
		}
	}
	if n.edge != nil {
		hosts = zoneHosts(&cfg.World)
		if _, err = sitesOfEdge(cfg, hosts, nil); err != nil {
			return err
		}
	}
	trust, err := trustOf(cfg)
	if err != nil {
		return err
	}
	old := n.cfg()
	if n.functions != nil {
		if err := n.functions.store.Declare(declaredFunctions(&cfg.World)); err != nil {
			return err
		}
	}
	if n.dns != nil {
		bounded, cancel := context.WithTimeout(ctx, reloadTimeout)
		defer cancel()
		err := n.publisher.replace(decided, n.registry.Fleet(), func() error { return n.registry.Reconfigure(bounded, registrySettings(cfg)) })
		if err != nil {
			if n.functions != nil {
				err = errors.Join(err, n.functions.store.Declare(declaredFunctions(&old.World)))
			}
			return err
		}
	}
	n.use(cfg)
	n.rememberAnswers(old)
	if n.dns != nil {
		n.dns.SetLimits(dnsLimits(&cfg.Local.Limits))
	}
	if n.functions != nil {
		n.functions.store.SetTrust(trust)
	}
	if n.edge != nil {
		_, capacity := edgeOf(&cfg.World, cfg.Local.Name)
		n.edge.SetLimits(edgeLimits(&cfg.Local, capacity))
		n.setting.Lock()
		n.hosts = hosts
		n.setting.Unlock()
		n.setSites()
	}
	if n.sender != nil {
		n.sender.SetKeys(cfg.Keys)
		n.sender.SetTargets(senderTargets(cfg))
	}
	return nil
}

// restartFor names the first difference that needs a new Node, or returns "".
func restartFor(old, cfg *Config) string {
	a, b := &old.Local, &cfg.Local
	popBefore, _ := edgeOf(&old.World, a.Name)
	popNow, _ := edgeOf(&cfg.World, b.Name)
	for _, d := range []struct {
		name string
		same bool
	}{
		{"the node's name", a.Name == b.Name},
		{"roles", a.Roles == b.Roles},
		{"data", a.Data == b.Data},
		{"dns", slices.Equal(a.DNS, b.DNS) || !a.Roles.Has(config.RoleDNS)},
		{"http", slices.Equal(a.HTTP, b.HTTP) || !a.Roles.Has(config.RoleEdge) && !a.Roles.Has(config.RoleOrigin)},
		{"heartbeat", a.Heartbeat == b.Heartbeat || !a.Roles.Has(config.RoleDNS)},
		{"api", a.API == b.API},
		{"the edge's PoP", popBefore == popNow},
		{"the edge's tags", ownTags(&old.World, a.Name) == ownTags(&cfg.World, b.Name) && (tagsOf(&old.World) == nil) == (tagsOf(&cfg.World) == nil)},
		{"the node's place", a.Place == b.Place},
		{"having a key", (len(old.Keys) > 0) == (len(cfg.Keys) > 0)},
	} {
		if !d.same {
			return d.name
		}
	}
	return ""
}
