package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"perto"
	"perto/config"
	"perto/console"
	"perto/geodata"
	"perto/internal/netx"
	"perto/node"
	"perto/replicas"
)

type runCmd struct {
	Config  string `short:"c" required:"" help:"The configuration." placeholder:"FILE"`
	Node    string `help:"Which machine of the file this is (the only one, or the host's name)." env:"PERTO_NODE" placeholder:"NAME"`
	Verbose bool   `short:"v" help:"Log more."`
	Worker  bool   `hidden:"" help:"Be the child that serves."`
	Map     bool   `hidden:"" help:"The node needs the world map: decode it at once."`
}

// Run runs a node: this process is a small parent that keeps a worker child
// alive. SIGHUP reloads the configuration, SIGTERM and Ctrl-C drain.
func (c *runCmd) Run(e *env) error {
	if c.Worker {
		return c.work(e)
	}
	return (&parent{cmd: c, env: e}).supervise()
}

// loaded is a configuration that a node can be made of.
type loaded struct {
	local *config.Local
	node  node.Config
}

// sockets returns what the node listens on.
func (l *loaded) sockets() []netx.Address { return node.Sockets(l.local, len(l.node.Keys) > 0) }

// load reads everything that a worker needs; it opens nothing.
func (c *runCmd) load() (*loaded, error) {
	world := sync.OnceValues(geodata.World)
	if c.Map {
		go world() // it takes as long as the rest: begin now
	}
	place, err := places()
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(c.Config, place)
	if err != nil {
		return nil, err
	}
	name := c.Node
	if name == "" && len(cfg.Nodes) == 1 {
		name = cfg.Nodes[0].Name
	}
	if name == "" {
		name, _ = os.Hostname()
	}
	local, err := cfg.Find(name)
	if err != nil {
		return nil, err
	}
	sockets, err := netx.Inherit()
	if err != nil {
		return nil, err
	}
	l := &loaded{local: local, node: node.Config{Local: *local, World: cfg.World, Network: sockets}}
	if needsMap(local, &cfg.World) {
		m, err := world()
		if err != nil {
			return nil, err
		}
		if l.node.Geo, err = node.LoadMap(&cfg.World.Geodata, m); err != nil {
			return nil, err
		}
	}
	if local.KeyFile != "" {
		if l.node.Keys, err = replicas.LoadKeys(local.KeyFile); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// needsMap tells whether a machine has to know where addresses are: to answer
// queries, or because functions may ask.
func needsMap(local *config.Local, w *config.World) bool {
	functions := len(w.Trust) > 0
	for _, s := range w.Services {
		functions = functions || len(s.Functions) > 0
	}
	return local.Roles.Has(config.RoleDNS) || functions
}

// work serves until the context ends. SIGHUP makes room for the next worker, which
// takes the sockets over: nobody is told, what runs is finished.
func (c *runCmd) work(e *env) error {
	// Nothing of what is loaded is garbage: to collect it costs a quarter of the
	// time in which nobody serves.
	percent := debug.SetGCPercent(-1)
	defer debug.SetGCPercent(percent)
	l, err := c.load()
	if err != nil {
		return err
	}
	l.node.Logger = logger(e, c.Verbose)
	n, err := node.New(l.node)
	if err != nil {
		return err
	}
	successor := make(chan os.Signal, 1)
	signal.Notify(successor, syscall.SIGHUP)
	defer signal.Stop(successor)
	var listener net.Listener
	if l.local.API != "" {
		if listener, err = l.node.Network.Listen(e.ctx, "tcp", l.local.API); err != nil {
			return &perto.Error{Op: "serve API on", Path: l.local.API, Kind: perto.KindUnavailable, Err: err}
		}
	}
	if err := n.Start(e.ctx); err != nil {
		if listener != nil {
			listener.Close()
		}
		return err
	}
	if listener != nil {
		mux := http.NewServeMux()
		mux.Handle("/", console.Handler(n))
		if api := n.FunctionAPI(console.WriteError); api != nil {
			mux.Handle("/api/functions", api)
			mux.Handle("/api/functions/", api)
		}
		server := &http.Server{Handler: console.Guard(mux), ReadHeaderTimeout: 5 * time.Second}
		go server.Serve(listener)
		defer server.Close()
	}
	debug.SetGCPercent(percent)
	fmt.Fprintf(e.out, "%s is up\n", l.local.Name)
	go debug.FreeOSMemory() // what loading left behind
	orphaned := make(chan struct{})
	go func() {
		defer close(orphaned)
		io.Copy(io.Discard, os.Stdin)
	}()
	select {
	case <-e.ctx.Done():
	case <-orphaned:
	case <-successor:
		return n.Kill()
	}
	return n.Close()
}
