package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"perto"
	"perto/config"
	"perto/dnsserver"
	"perto/edge"
	"perto/functions"
	"perto/geodata"
	"perto/internal/netx"
	"perto/mapping"
	"perto/metrics"
	"perto/mobility"
	"perto/origin"
	"perto/replicas"
)

// Config configures a Node.
type Config struct {
	Local   config.Local
	World   config.World
	Network netx.Network
	Geo     *geodata.Map // shared by the Nodes of a process
	// Keys sign and verify heartbeats. Without keys only probes decide.
	Keys   []replicas.Key
	Trust  []mobility.PublicKey // keys that may sign functions, in addition to those of the World
	Code   *functions.Cache     // compiled functions, shared by the Nodes of a process; nil: its own
	Logger *slog.Logger         // nil: no logs

	Version string // of the program, for metrics
	Process bool   // the Node is the only one of its process: its metrics include those of the process

	digest replicas.Digest // of World
}

// Node is one running perto. New builds it, Start opens its sockets, Close ends it. A
// Node runs once.
type Node struct {
	current atomic.Pointer[Config] // replaced by Reload
	metrics *metrics.Registry
	started time.Time

	reloading sync.Mutex // one Reload at a time
	reloads   []metrics.Counter
	refused   atomic.Bool  // the last reload failed
	loaded    atomic.Int64 // when the current configuration took effect, in nanoseconds since 1970

	dns       *dnsserver.Server // role dns
	publisher *publisher
	registry  *replicas.Registry
	edge      *edge.Edge                 // role edge
	setting   sync.Mutex                 // one change of the edge's sites at a time
	hosts     map[perto.Service][]string // see zoneHosts; guarded by setting
	sender    *replicas.Sender
	origin    *origin.Shop // role origin

	functions *functionHost // roles edge and origin
	learning  learning

	leaving atomic.Pointer[time.Time] // see Leave; nil while the Node stays
	// oldAnswers is when the answers of earlier configurations have expired, in nanoseconds
	// since 1970.
	oldAnswers atomic.Int64
	beating    context.CancelFunc
	cancel     context.CancelFunc
	sending    sync.WaitGroup
	running    sync.WaitGroup
	ended      sync.Once
	endError   error
}

// New checks a configuration and builds the components of the Local's roles. It opens no
// socket.
func New(cfg Config) (*Node, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := ensureData(cfg.Local.Data); err != nil {
		return nil, err
	}
	n := &Node{metrics: metrics.New()}
	n.learning.learner = mapping.NewLearner(mapping.LearnerConfig{})
	n.learning.tags = ownTags(&cfg.World, cfg.Local.Name)
	n.learning.votes = n.metrics.Counter("perto_learned_votes_total", "Pairs of a resolver and a client block that counted as a vote.")
	n.use(&cfg)
	n.measure()
	if cfg.Local.Roles.Has(config.RoleDNS) {
		n.dns = dnsserver.New(dnsserver.Config{Name: cfg.Local.Name, Network: cfg.Network, Listen: cfg.Local.DNS, Logger: cfg.Logger, Metrics: n.metrics,
			Limits: dnsLimits(&cfg.Local.Limits)})
		decider, err := newDecider(&cfg.World, cfg.Geo)
		if err != nil {
			return nil, err
		}
		n.publisher = &publisher{server: n.dns, decider: decider}
	}
	if cfg.Local.Roles.Has(config.RoleEdge) {
		if err := n.newEdge(); err != nil {
			return nil, err
		}
	}
	if cfg.Local.Roles.Has(config.RoleOrigin) {
		if err := n.newOrigin(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// cfg returns the current configuration.
func (n *Node) cfg() *Config { return n.current.Load() }

// Start opens the sockets and runs the Node until Close. When it returns an error,
// nothing is left running.
func (n *Node) Start(ctx context.Context) error {
	n.started = time.Now()
	run, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	if err := n.start(ctx, run); err != nil {
		n.Close()
		return err
	}
	return nil
}

func (n *Node) start(ctx, run context.Context) error {
	if n.functions != nil { // load code before the first request
		version := n.functions.begin(run)
		n.running.Go(func() { n.functions.run(run, version) })
	}
	if n.origin != nil {
		if err := n.origin.Start(ctx); err != nil {
			return err
		}
	}
	if n.edge != nil {
		if err := n.edge.Start(ctx); err != nil {
			return err
		}
		n.running.Go(func() { n.edge.Run(run) })
		sender, err := newSender(n.cfg(), n)
		if err != nil {
			return err
		}
		if n.sender = sender; sender != nil {
			beat, stop := context.WithCancel(run)
			n.beating = stop
			n.sending.Go(func() { sender.Run(beat) })
		}
	}
	if n.dns != nil {
		registry, err := newRegistry(ctx, n.cfg(), n)
		if err != nil {
			return err
		}
		n.registry = registry
		n.running.Go(func() { registry.Run(run) })
		n.publisher.update(registry.Fleet()) // publish answers before the first query
		if err := n.dns.Start(ctx); err != nil {
			return err
		}
		n.running.Go(func() { n.publisher.run(run, registry.Fleet()) })
	}
	n.startLearning(run)
	return nil
}

// Close ends the Node now, in order: it sends a farewell to the name servers and finishes
// running requests. It waits until all goroutines have ended.
func (n *Node) Close() error { return n.end(true) }

// Kill ends the Node without a farewell, like a crash. It is also for a Node with a
// successor on the same sockets.
func (n *Node) Kill() error { return n.end(false) }

func (n *Node) end(farewell bool) error {
	n.ended.Do(func() {
		if n.cancel == nil {
			if n.functions != nil {
				n.endError = n.functions.close()
			}
			return
		}
		var errs []error
		if n.sender != nil {
			if !farewell {
				n.sender.Hush()
			}
			n.beating()
			n.sending.Wait()
		}
		if n.dns != nil {
			errs = append(errs, n.dns.Close())
		}
		n.cancel()
		if n.origin != nil {
			errs = append(errs, n.origin.Close())
		}
		if n.edge != nil {
			errs = append(errs, n.edge.Close())
		}
		n.running.Wait()
		if n.functions != nil {
			errs = append(errs, n.functions.close())
		}
		n.endError = errors.Join(errs...)
	})
	return n.endError
}

// Fleet returns the current state of the replicas. It is nil on a node that does not
// serve DNS.
func (n *Node) Fleet() *replicas.Fleet {
	if n.registry == nil {
		return nil
	}
	return n.registry.Fleet().Load()
}

// WaitFleet waits until the state of the replicas satisfies a condition.
func (n *Node) WaitFleet(ctx context.Context, ok func(*replicas.Fleet) bool) error {
	var version uint64
	for {
		f, v, err := n.registry.Fleet().Wait(ctx, version)
		if err != nil {
			return err
		}
		if ok(f) {
			return nil
		}
		version = v
	}
}

// Edge returns the node's edge, or nil.
func (n *Node) Edge() *edge.Edge { return n.edge }

// DNSAddrs returns the addresses of the DNS sockets.
func (n *Node) DNSAddrs() []netip.AddrPort {
	if n.dns == nil {
		return nil
	}
	return n.dns.Addrs()
}
