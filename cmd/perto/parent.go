package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"perto"
	"perto/internal/netx"
	"perto/node"
)

// parent owns the sockets of a node and keeps a worker process running that serves on
// them. While no worker runs, packets and connections wait in the sockets.
type parent struct {
	cmd     *runCmd
	env     *env
	log     *slog.Logger
	sockets netx.Sockets
	maps    bool // the node needs the world map
	served  bool // a worker has served since the start
	leaving sync.WaitGroup
	manager serviceManager
}

func newParent(c *runCmd, e *env) *parent { return &parent{cmd: c, env: e, log: c.logger(e)} }

// Restarts of a worker: at once the first time, then with growing pauses while new workers
// end soon after their start.
const (
	firstPause  = 50 * time.Millisecond
	longPause   = 10 * time.Second
	livedEnough = 10 * time.Second
)

// addresses reads the configuration and returns the addresses on which the node listens.
func (p *parent) addresses() ([]netx.Address, error) {
	cfg, local, err := p.cmd.outline()
	if err != nil {
		return nil, err
	}
	p.maps = needsMap(local, &cfg.World)
	return node.Sockets(local, local.KeyFile != ""), nil
}

// open opens sockets that are not open yet.
func (p *parent) open(list []netx.Address) error {
	if err := p.sockets.Open(p.env.ctx, list); err != nil {
		return &perto.Error{Op: "open the sockets of", Path: p.cmd.Config, Kind: perto.KindUnavailable, Err: err,
			Hint: "another process may use the port, or it needs a privilege; dns, http, heartbeat and api in the node block set the addresses"}
	}
	return nil
}

// supervise keeps a worker running until the context ends.
func (p *parent) supervise() error {
	list, err := p.addresses()
	if err != nil {
		return err
	}
	if err := p.open(list); err != nil {
		return err
	}
	p.manager = findServiceManager()
	defer p.leaving.Wait()
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
		if !again {
			return err
		}
		if time.Since(started) > livedEnough {
			pause = 0
		}
		p.log.Error("the worker ended and is started again", "err", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-hup: // the operator may have corrected the cause
		case <-p.env.ctx.Done():
			return nil
		}
		pause = min(max(firstPause, 2*pause), longPause)
	}
}

// child is a running worker.
type child struct {
	process  *os.Process
	commands io.WriteCloser // the worker ends when this is closed
	replies  <-chan reply   // closed when the worker has ended
	ended    chan error     // receives the result of the process
	refusal  error          // why it could not start
	ready    bool           // it serves
}

// start starts a worker on the sockets.
func (p *parent) start() (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"run", "--worker", "-c", p.cmd.Config, "--log-format", p.cmd.LogFormat}
	if p.cmd.Node != "" {
		args = append(args, "--node", p.cmd.Node)
	}
	if p.maps {
		args = append(args, "--map")
	}
	if p.manager.watchdog > 0 {
		args = append(args, "--alive", (p.manager.watchdog / 3).String())
	}
	if p.cmd.Verbose {
		args = append(args, "--verbose")
	}
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = p.env.raw, p.env.rawErr // the worker escapes its own output
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer to.Close()
	files, variable := p.sockets.Pass()
	cmd.ExtraFiles = append(files, to)
	cmd.Env = append(os.Environ(), variable, repliesEnv+"="+strconv.Itoa(netx.FirstFile+len(files)))
	commands, err := cmd.StdinPipe()
	if err != nil {
		from.Close()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		from.Close()
		return nil, err
	}
	replies := make(chan reply)
	w := &child{process: cmd.Process, commands: commands, replies: replies, ended: make(chan error, 1)}
	go func() {
		defer from.Close()
		decoder := json.NewDecoder(bufio.NewReader(from))
		for {
			var r reply
			if decoder.Decode(&r) != nil {
				break
			}
			replies <- r
		}
		w.ended <- cmd.Wait()
		close(replies)
	}()
	return w, nil
}

// watch waits for events of one worker and of its successors after reloads, until the last
// has ended. again requests a new worker; err is then the reason.
func (p *parent) watch(w *child, hup <-chan os.Signal) (again bool, err error) {
	for {
		select {
		case r, ok := <-w.replies:
			switch {
			case !ok:
				return p.buried(w)
			case r.Event == eventReady:
				p.serves(w)
			case r.Event == eventAlive:
				p.manager.tell("WATCHDOG=1")
			case r.Event == eventRefused:
				w.refusal = refusal(r)
			}
		case <-hup:
			p.manager.reloading()
			w = p.reload(w)
			p.manager.tell("READY=1") // with the new configuration or the old one
		case <-p.env.ctx.Done():
			p.end(w)
			return false, nil
		}
	}
}

// serves records that a worker serves.
func (p *parent) serves(w *child) {
	p.served, w.ready = true, true
	p.manager.tell("READY=1")
}

// end ends a worker after the first signal. A second signal cuts its wait for cached
// answers short, and a third one its running requests.
func (p *parent) end(w *child) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	p.manager.tell("STOPPING=1")
	p.sockets.Close() // the worker has its own copies
	if w.ready {
		io.WriteString(w.commands, commandLeave+"\n") // a worker that has ended ignores it
	} else {
		_ = w.process.Kill() // it serves no client yet, and may have ended
	}
	hurry := w.commands.Close
	for {
		select {
		case r, ok := <-w.replies:
			if !ok {
				w.bury()
				return
			}
			if r.Event == eventAlive {
				p.manager.tell("WATCHDOG=1")
			}
		case <-again:
			hurry()
			hurry = w.process.Kill
		}
	}
}

// bury waits for the end of a worker and returns its result.
func (w *child) bury() error {
	for range w.replies { // closed when the process has ended
	}
	w.commands.Close()
	return <-w.ended
}

// buried decides how to continue after a worker has ended by itself. When the configuration
// was never served, the operator must correct it. When it was served before a crash, the
// worker is started again.
func (p *parent) buried(w *child) (again bool, err error) {
	err = w.bury()
	switch {
	case w.refusal != nil:
		return p.served, w.refusal
	case err == nil:
		err = errors.New("it ended without a reason")
	}
	return true, err
}

// refusal is the error of a worker that could not start or reload.
func refusal(r reply) error { return &workerError{text: r.Error, code: r.Code} }

type workerError struct {
	text string
	code int
}

func (e *workerError) Error() string { return e.text }

// exitStatus returns the exit code of the worker's error.
func (e *workerError) exitStatus() int { return e.code }

// reload makes the worker load the configuration. When the running process cannot do that,
// it starts a successor. It returns the worker that serves.
func (p *parent) reload(w *child) *child {
	began := time.Now()
	if _, err := io.WriteString(w.commands, commandReload+"\n"); err != nil {
		return w // it has ended; watch handles that
	}
	for {
		var r reply
		var ok bool
		select {
		case r, ok = <-w.replies:
		case <-p.env.ctx.Done():
			return w
		}
		switch {
		case !ok:
			p.log.Error("not reloaded: the worker ended")
			return w
		case r.Event == eventReady: // it was still starting
			p.serves(w)
			continue
		case r.Event == eventAlive:
			p.manager.tell("WATCHDOG=1")
			continue
		case r.Event == eventReloaded:
			p.log.Info("the configuration is reloaded", "file", p.cmd.Config, "took", time.Since(began).Round(time.Millisecond))
			return w
		case r.Event == eventRestart:
			next, err := p.handOver(w)
			if err != nil {
				p.log.Error("not reloaded, the old configuration stays in force", "file", p.cmd.Config, "err", err)
				return w
			}
			p.log.Info("the configuration is reloaded by a new process", "file", p.cmd.Config, "reason", r.Error, "took", time.Since(began).Round(time.Millisecond))
			return next
		default:
			p.log.Error("not reloaded, the old configuration stays in force", "file", p.cmd.Config, "err", r.Error)
			return w
		}
	}
}

// handOver starts a worker with the new configuration beside the old one, on the same
// sockets where the addresses stay. When it serves, the old worker finishes its requests
// and ends.
func (p *parent) handOver(w *child) (*child, error) {
	before := p.sockets.List()
	list, err := p.addresses()
	if err != nil {
		return nil, err
	}
	if err := p.open(list); err != nil {
		return nil, err
	}
	next, err := p.start()
	if err == nil {
		err = next.waitReady(p.env.ctx)
	}
	if err != nil {
		p.sockets.Keep(before)
		return nil, err
	}
	p.sockets.Keep(list)
	io.WriteString(w.commands, commandYield+"\n") // a worker that has ended ignores it
	p.leaving.Go(func() { w.bury() })
	return next, nil
}

// waitReady waits until a worker serves. It kills a worker that does not.
func (w *child) waitReady(ctx context.Context) error {
	select {
	case r, ok := <-w.replies:
		switch {
		case !ok:
			return errors.Join(errors.New("the new worker ended"), w.bury())
		case r.Event == eventReady:
			w.ready = true
			return nil
		}
		w.bury()
		return refusal(r)
	case <-ctx.Done():
		w.commands.Close()
		w.bury()
		return context.Cause(ctx)
	}
}
