package main

import (
	"log/slog"
	"os"
	"sync"
	"time"

	"perto/config"
	"perto/geodata"
	"perto/internal/netx"
	"perto/node"
	"perto/replicas"
)

type runCmd struct {
	Config    string `short:"c" required:"" help:"The configuration. Its relative paths start at its folder." env:"PERTO_CONFIG" placeholder:"FILE"`
	Node      string `help:"Name of this machine in the file (default: the only one, or the host name)." env:"PERTO_NODE" placeholder:"NAME"`
	Verbose   bool   `short:"v" help:"Log debug messages too."`
	LogFormat string `enum:"text,json" default:"text" help:"Write the log as text or as JSON (${enum})." placeholder:"FORMAT"`
	Worker    bool   `hidden:"" help:"Run as the worker process."`
	Map       bool   `hidden:"" help:"The node needs the world map: decode it at once."`

	Alive time.Duration `hidden:"" help:"Report to the parent at this interval that the node serves."`
}

// Run runs a node. This process is a small parent that keeps a worker child running. SIGHUP
// reloads the configuration, SIGTERM and Ctrl-C drain.
func (c *runCmd) Run(e *env) error {
	if c.Worker {
		return c.work(e)
	}
	return newParent(c, e).supervise()
}

// logger returns the log of a node. All log lines of the node go there.
func (c *runCmd) logger(e *env) *slog.Logger {
	level := slog.LevelInfo
	if c.Verbose {
		level = slog.LevelDebug
	}
	return newLogger(e, level, c.LogFormat == "json")
}

// machine returns the configuration and this machine's part of it.
func (c *runCmd) machine() (*config.Config, *config.Local, error) {
	place, err := places()
	if err != nil {
		return nil, nil, err
	}
	cfg, err := config.Load(c.Config, place)
	return c.find(cfg, err)
}

// outline is like machine, without places and without the contents of other files. It
// takes a fraction of the time and memory. machine finds the mistakes that it overlooks.
func (c *runCmd) outline() (*config.Config, *config.Local, error) {
	return c.find(config.LoadOutline(c.Config))
}

// find returns a configuration and this machine's part of it.
func (c *runCmd) find(cfg *config.Config, err error) (*config.Config, *config.Local, error) {
	if err != nil {
		return nil, nil, err
	}
	name := c.Node
	if name == "" && len(cfg.Nodes) == 1 {
		name = cfg.Nodes[0].Name
	}
	if name == "" {
		name, _ = os.Hostname()
	}
	local, err := cfg.Find(name)
	return cfg, local, err
}

// loader reads a node's configuration, also repeatedly.
type loader struct {
	cmd     *runCmd
	network netx.Network
	world   func() (*geodata.Map, error) // decodes the embedded map once
}

func newLoader(c *runCmd, network netx.Network) *loader {
	l := &loader{cmd: c, network: network, world: sync.OnceValues(geodata.World)}
	if c.Map {
		go l.world() // decoding takes as long as the rest: start early
	}
	return l
}

// node returns the configuration of a node. It opens no sockets.
func (l *loader) node() (*node.Config, error) {
	cfg, local, err := l.cmd.machine()
	if err != nil {
		return nil, err
	}
	out := &node.Config{Local: *local, World: cfg.World, Network: l.network}
	if needsMap(local, &cfg.World) {
		m, err := l.world()
		if err != nil {
			return nil, err
		}
		if out.Geo, err = node.LoadMap(&cfg.World.Geodata, m); err != nil {
			return nil, err
		}
	}
	if local.KeyFile != "" {
		if out.Keys, err = replicas.LoadKeys(local.KeyFile); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// needsMap reports whether a machine needs the map of addresses: to answer queries, or for
// functions, which may read the client's country.
func needsMap(local *config.Local, w *config.World) bool {
	functions := len(w.Trust) > 0
	for _, s := range w.Services {
		functions = functions || len(s.Functions) > 0
	}
	return local.Roles.Has(config.RoleDNS) || functions
}
