package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"perto"
	"perto/config"
	"perto/dnsserver"
	"perto/geodata"
	"perto/internal/netx"
	"perto/internal/snapshot"
	"perto/mapping"
	"perto/metrics"
	"perto/replicas"
)

// Config is what a Node is made from.
type Config struct {
	Local   config.Local
	World   config.World
	Network netx.Network
	Geo     *geodata.Map // shared by the Nodes of a process
	Logger  *slog.Logger // nil: silent
}

// Node is one running perto. New builds it, Start opens its sockets, Close ends
// it; a Node runs once.
type Node struct {
	cfg     Config
	metrics *metrics.Registry
	fleet   snapshot.Var[replicas.Fleet]
	started time.Time

	dns     *dnsserver.Server
	dnsRoom *dnsRoom

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// New checks a configuration and builds the rooms that the Local's roles ask
// for. It opens nothing.
func New(cfg Config) (*Node, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{cfg: cfg, metrics: metrics.New()}
	n.fleet.Store(assumedFleet(&cfg.World, time.Now()))
	if len(cfg.World.Services) > 0 {
		for _, s := range cfg.World.Services {
			if len(s.Functions) > 0 {
				return nil, &perto.Error{Op: "run functions of service", Path: string(s.Name), Kind: perto.KindInvalid,
					Err: errors.New("this version does not run functions"), Hint: "remove its function blocks"}
			}
		}
	}
	if cfg.Local.Roles.Has(config.RoleDNS) {
		n.dns = dnsserver.New(dnsserver.Config{Name: cfg.Local.Name, Network: cfg.Network, Listen: cfg.Local.DNS, Logger: cfg.Logger, Metrics: n.metrics})
		room, err := newDNSRoom(&cfg.World, cfg.Geo, n.dns, &n.fleet)
		if err != nil {
			return nil, err
		}
		n.dnsRoom = room
	}
	return n, nil
}

// Start opens the sockets and runs the Node until Close. What cannot be opened
// is an error, and then nothing is left running.
func (n *Node) Start(ctx context.Context) error {
	n.started = time.Now()
	run, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	if n.dns != nil {
		n.dnsRoom.update(n.fleet.Load()) // answers are there before the first question
		if err := n.dns.Start(ctx); err != nil {
			cancel()
			return err
		}
		n.running.Go(func() { n.dnsRoom.run(run) })
	}
	return nil
}

// Close ends the Node and waits until everything it started is gone.
func (n *Node) Close() error {
	if n.cancel == nil {
		return nil
	}
	n.cancel()
	var err error
	if n.dns != nil {
		err = n.dns.Close()
	}
	n.running.Wait()
	return err
}

// Fleet returns what is known of the replicas now.
func (n *Node) Fleet() *replicas.Fleet { return n.fleet.Load() }

// DNSAddrs returns the addresses that DNS is served on.
func (n *Node) DNSAddrs() []netip.AddrPort {
	if n.dns == nil {
		return nil
	}
	return n.dns.Addrs()
}

// Explain returns how a query for a service would be decided now, and why.
func (n *Node) Explain(name string, resolver netip.Addr, ecs mapping.Subnet, family mapping.Family) (*mapping.Explanation, error) {
	if n.dns == nil {
		return nil, &perto.Error{Op: "explain", Path: name, Kind: perto.KindUnavailable,
			Err: errors.New("this node does not serve DNS"), Hint: "ask a node with the role dns"}
	}
	a, err := n.dns.View().Answers(name)
	if err != nil {
		return nil, err
	}
	return a.Explain(resolver, ecs, family), nil
}
