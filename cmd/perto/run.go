package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"perto"
	"perto/config"
	"perto/console"
	"perto/internal/netx"
	"perto/node"
	"perto/replicas"
)

type runCmd struct {
	Config  string `short:"c" required:"" help:"The configuration." placeholder:"FILE"`
	Node    string `help:"Which machine of the file this is (the only one, or the host's name)." env:"PERTO_NODE" placeholder:"NAME"`
	Verbose bool   `short:"v" help:"Log more."`
	Worker  bool   `hidden:"" help:"Be the child that serves."`
}

// Run runs a node: this process is a small parent that keeps a worker child
// alive. SIGHUP reloads the configuration, SIGTERM and Ctrl-C drain.
func (c *runCmd) Run(e *env) error {
	if c.Worker {
		return c.work(e)
	}
	if _, err := c.load(); err != nil {
		return err
	}
	return c.supervise(e)
}

// loaded is a configuration that a node can be made of.
type loaded struct {
	local *config.Local
	node  node.Config
}

// load reads everything that a worker needs, and builds a node to find what is
// wrong with it; it opens nothing.
func (c *runCmd) load() (*loaded, error) {
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
	l := &loaded{local: local, node: node.Config{Local: *local, World: cfg.World, Network: &netx.OS{}}}
	if l.node.Geo, err = node.LoadMap(&cfg.World.Geodata); err != nil {
		return nil, err
	}
	if local.KeyFile != "" {
		if l.node.Keys, err = replicas.LoadKeys(local.KeyFile); err != nil {
			return nil, err
		}
	}
	if _, err := node.New(l.node); err != nil {
		return nil, err
	}
	return l, nil
}

// work serves until the context ends.
func (c *runCmd) work(e *env) error {
	l, err := c.load()
	if err != nil {
		return err
	}
	l.node.Logger = logger(e, c.Verbose)
	n, err := node.New(l.node)
	if err != nil {
		return err
	}
	var listener net.Listener
	if l.local.API != "" {
		if listener, err = net.Listen("tcp", l.local.API); err != nil {
			return &perto.Error{Op: "serve API on", Path: l.local.API, Kind: perto.KindUnavailable, Err: err, Hint: `set api in the node block to listen elsewhere, "" for none`}
		}
	}
	if err := n.Start(e.ctx); err != nil {
		if listener != nil {
			listener.Close()
		}
		return err
	}
	if listener != nil {
		server := &http.Server{Handler: console.Guard(console.Handler(n)), ReadHeaderTimeout: 5 * time.Second}
		go server.Serve(listener)
		defer server.Close()
	}
	fmt.Fprintf(e.out, "%s is up\n", l.local.Name)
	orphaned := make(chan struct{})
	go func() {
		defer close(orphaned)
		io.Copy(io.Discard, os.Stdin)
	}()
	select {
	case <-e.ctx.Done():
	case <-orphaned:
	}
	return n.Close()
}

// Restarting a worker: at once the first time, then with growing pauses while it
// keeps dying young.
const (
	firstPause  = 50 * time.Millisecond
	longPause   = 10 * time.Second
	livedEnough = 10 * time.Second
)

// supervise keeps a worker running until the context ends.
func (c *runCmd) supervise(e *env) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	pause := firstPause
	for {
		worker := exec.Command(self, c.workerArgs()...)
		worker.Stdout, worker.Stderr = e.out, e.err
		// The worker ends when this pipe does: a parent that is killed leaves none
		// behind.
		alive, err := worker.StdinPipe()
		if err != nil {
			return err
		}
		if err := worker.Start(); err != nil {
			return err
		}
		started := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- worker.Wait() }()
		again, err := c.watch(e, worker, ended, hup)
		alive.Close()
		if !again {
			return err
		}
		if time.Since(started) > livedEnough {
			pause = firstPause
		}
		if err != nil {
			fmt.Fprintf(e.err, "perto: the worker ended (%v) and is started again in %s\n", err, pause)
			select {
			case <-time.After(pause):
			case <-e.ctx.Done():
				return nil
			}
			pause = min(2*pause, longPause)
		}
	}
}

func (c *runCmd) workerArgs() []string {
	args := []string{"run", "--worker", "-c", c.Config}
	if c.Node != "" {
		args = append(args, "--node", c.Node)
	}
	if c.Verbose {
		args = append(args, "--verbose")
	}
	return args
}

// watch waits for one worker's end. again asks for a new one; an error with it
// is a crash.
func (c *runCmd) watch(e *env, worker *exec.Cmd, ended <-chan error, hup <-chan os.Signal) (again bool, err error) {
	for {
		select {
		case err := <-ended:
			if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == exitUsage {
				return false, &perto.Error{Op: "run", Path: c.Config, Kind: perto.KindInvalid, Err: errors.New("the worker refused the configuration")}
			}
			if err == nil {
				err = errors.New("without a reason")
			}
			return true, err
		case <-hup:
			if _, err := c.load(); err != nil {
				fmt.Fprintln(e.err, "perto: not reloaded, the old configuration goes on:", err)
				continue
			}
			worker.Process.Signal(syscall.SIGTERM)
			<-ended
			return true, nil
		case <-e.ctx.Done():
			worker.Process.Signal(syscall.SIGTERM)
			<-ended
			return false, nil
		}
	}
}

type healthCmd struct{}

// Run asks the API of a node or lab on this machine whether it is there; the
// exit code is the answer.
func (c *healthCmd) Run(e *env) error {
	ctx, cancel := context.WithTimeout(e.ctx, 3*time.Second)
	defer cancel()
	asking := *e
	asking.ctx = ctx
	var s node.Status
	if err := asking.get("/api/status", nil, &s); err != nil {
		return err
	}
	if s.Edge != nil && !s.Edge.Listening {
		return &perto.Error{Op: "check health of", Path: s.Name, Kind: perto.KindUnavailable, Err: errors.New("its edge does not listen")}
	}
	fmt.Fprintf(e.out, "%s is well\n", s.Name)
	return nil
}
