package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"perto"
	"perto/internal/netx"
	"perto/node"
)

// parent owns the sockets of a node and keeps a worker alive that serves on them.
// While there is none, packets and connections wait in the sockets: a crash or a
// reload refuses nobody.
type parent struct {
	cmd     *runCmd
	env     *env
	sockets netx.Sockets
	maps    bool // the node needs the world map
}

// Restarting a worker: at once the first time, then with growing pauses while it
// keeps dying young.
const (
	firstPause  = 50 * time.Millisecond
	longPause   = 10 * time.Second
	livedEnough = 10 * time.Second
)

// open loads the configuration and opens its sockets. When either fails, those
// that are open stay.
func (p *parent) open() error {
	l, err := p.cmd.load()
	if err != nil {
		return err
	}
	if _, err := node.New(l.node); err != nil { // what is wrong with it is known before anything opens
		return err
	}
	defer debug.FreeOSMemory() // the check took as much as a worker, the parent needs next to nothing
	p.maps = needsMap(l.local, &l.node.World)
	if err := p.sockets.Set(p.env.ctx, l.sockets()); err != nil {
		return &perto.Error{Op: "open the sockets of", Path: l.local.Name, Kind: perto.KindUnavailable, Err: err,
			Hint: "another process may hold the port, or it takes a privilege; dns, http, heartbeat and api in the node block say where to listen"}
	}
	return nil
}

// supervise keeps a worker running until the context ends.
func (p *parent) supervise() error {
	if err := p.open(); err != nil {
		return err
	}
	defer p.sockets.Close()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	pause := time.Duration(0)
	for {
		started := time.Now()
		w, err := p.start()
		if err != nil {
			return err
		}
		again, err := p.watch(w, hup)
		w.alive.Close()
		if !again {
			return err
		}
		if time.Since(started) > livedEnough {
			pause = 0
		}
		if err != nil {
			fmt.Fprintf(p.env.err, "perto: the worker ended (%v) and is started again in %s\n", err, pause)
			select {
			case <-time.After(pause):
			case <-p.env.ctx.Done():
				return nil
			}
			pause = min(max(firstPause, 2*pause), longPause)
		}
	}
}

// worker is a running child.
type worker struct {
	process *os.Process
	// alive is the worker's standard input. The worker ends when it does: a parent
	// that is killed leaves none behind.
	alive io.Closer
	ended <-chan error
}

// start starts a worker on the sockets.
func (p *parent) start() (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"run", "--worker", "-c", p.cmd.Config}
	if p.cmd.Node != "" {
		args = append(args, "--node", p.cmd.Node)
	}
	if p.maps {
		args = append(args, "--map")
	}
	if p.cmd.Verbose {
		args = append(args, "--verbose")
	}
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = p.env.out, p.env.err
	files, variable := p.sockets.Pass()
	cmd.ExtraFiles, cmd.Env = files, append(os.Environ(), variable)
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return &worker{cmd.Process, alive, ended}, nil
}

// watch waits for one worker's end. again asks for a new one; an error with it is
// a crash.
func (p *parent) watch(w *worker, hup <-chan os.Signal) (again bool, err error) {
	for {
		select {
		case err := <-w.ended:
			if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == exitUsage {
				return false, &perto.Error{Op: "run", Path: p.cmd.Config, Kind: perto.KindInvalid, Err: errors.New("the worker refused the configuration")}
			}
			if err == nil {
				err = errors.New("without a reason")
			}
			return true, err
		case <-hup:
			if err := p.open(); err != nil {
				fmt.Fprintln(p.env.err, "perto: not reloaded, the old configuration goes on:", err)
				continue
			}
			w.process.Signal(syscall.SIGHUP)
			<-w.ended
			return true, nil
		case <-p.env.ctx.Done():
			p.sockets.Close() // who connects from now on is refused and goes elsewhere
			w.process.Signal(syscall.SIGTERM)
			<-w.ended
			return false, nil
		}
	}
}
