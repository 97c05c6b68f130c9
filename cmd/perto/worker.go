package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"perto/internal/netx"
	"perto/node"
)

// Commands from the parent on the worker's standard input, one a line. The end of the
// input means that the parent has ended.
const (
	commandReload = "reload" // read the configuration again; a reply follows
	commandYield  = "yield"  // a successor serves: finish the running requests and end
	commandLeave  = "leave"  // leave the answers, serve until cached answers expire, and end
)

// reply is a worker's message to its parent: a line of JSON.
type reply struct {
	Event string `json:"event"`
	Error string `json:"error,omitempty"` // the reason for eventRefused and eventRestart
	Code  int    `json:"code,omitempty"`  // the exit code of that error
}

// Events of replies.
const (
	eventReady    = "ready"    // the worker serves
	eventReloaded = "reloaded" // the new configuration took effect
	eventRefused  = "refused"  // the configuration is wrong; the worker continues with the old one
	eventRestart  = "restart"  // the change needs a new worker
	eventAlive    = "alive"    // it still serves
)

// repliesEnv is the variable with the descriptor on which a worker writes replies.
const repliesEnv = "PERTO_REPLIES"

// replies writes to the parent. Without a parent it drops the replies.
type replies struct{ to io.Writer }

func openReplies() (replies, error) {
	text := os.Getenv(repliesEnv)
	if text == "" {
		return replies{io.Discard}, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd <= 2 {
		return replies{}, fmt.Errorf("%s is %q; it must be a descriptor number above 2", repliesEnv, text)
	}
	return replies{os.NewFile(uintptr(fd), "replies")}, nil
}

func (r replies) send(event string, err error) {
	m := reply{Event: event}
	if err != nil {
		m.Error, m.Code = err.Error(), exitCode(err)
	}
	json.NewEncoder(r.to).Encode(m) // the end of the input shows that the parent has ended
}

// worker serves a node until its context or its parent ends, and runs the parent's
// commands.
type worker struct {
	load    *loader
	log     *slog.Logger
	node    *node.Node
	access  *apiAccess
	replies replies
}

// loadGCPercent is GOGC while a worker loads its configuration.
const loadGCPercent = 50

// work runs a worker from start to end.
func (c *runCmd) work(e *env) error {
	signal.Ignore(syscall.SIGHUP) // the parent's; "pkill -HUP perto" signals both
	to, err := openReplies()
	if err != nil {
		return err
	}
	if to.to != io.Discard { // a terminal and a service manager signal both processes
		signal.Ignore(os.Interrupt, syscall.SIGTERM)
	}
	w := &worker{replies: to, log: c.logger(e)}
	err = w.serve(e, c)
	if w.node == nil && err != nil {
		w.replies.send(eventRefused, err)
		if w.replies.to != io.Discard {
			return &reportedError{err} // the parent prints it
		}
	}
	return err
}

func (w *worker) serve(e *env, c *runCmd) error {
	// Loading leaves as much garbage as data. Frequent collections keep the peak of memory
	// near the later use. They are cheap, because the tables have no pointers.
	percent := debug.SetGCPercent(loadGCPercent)
	defer debug.SetGCPercent(percent)
	sockets, err := netx.Inherit()
	if err != nil {
		return err
	}
	w.load = newLoader(c, sockets)
	cfg, err := w.load.node()
	if err != nil {
		return err
	}
	cfg.Logger, cfg.Version, cfg.Process = w.log, version, true
	limitMemory(&cfg.Local, fromCgroup, w.log)
	n, err := node.New(*cfg)
	if err != nil {
		return err
	}
	w.access = newAPIAccess(&cfg.Local)
	if err := w.access.use(&cfg.Local); err != nil {
		return err
	}
	if err := n.Start(e.ctx); err != nil {
		return err
	}
	stopAPI, err := w.serveAPI(e, n, cfg) // after the start: status and metrics read all parts
	if err != nil {
		return errors.Join(err, n.Close())
	}
	defer stopAPI()
	w.node = n
	debug.SetGCPercent(percent)
	w.log.Info("the node is up", "node", cfg.Local.Name)
	w.replies.send(eventReady, nil)
	go debug.FreeOSMemory() // return the memory of loading
	if c.Alive > 0 {
		go w.reportAlive(c.Alive)
	}
	return w.obey(e)
}

// reportAlive reports to the parent for as long as the process runs. The status takes the
// locks of all parts, so a node that hangs does not report.
func (w *worker) reportAlive(every time.Duration) {
	for range time.Tick(every) {
		w.node.Status()
		w.replies.send(eventAlive, nil)
	}
}

// obey runs commands until the node has to end, and ends it.
func (w *worker) obey(e *env) error {
	commands := make(chan string)
	go func() {
		defer close(commands)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			commands <- in.Text()
		}
	}()
	for {
		select {
		case <-e.ctx.Done():
			return w.node.Close()
		case command, ok := <-commands:
			switch {
			case !ok: // the parent is gone
				return w.node.Close()
			case command == commandYield:
				return w.node.Kill()
			case command == commandLeave:
				return w.leave(commands)
			case command == commandReload:
				w.reload(e)
			}
		}
	}
}

// leave ends the node without a loss for clients. The end of the commands cuts the wait
// short.
func (w *worker) leave(commands <-chan string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for range commands {
		}
		cancel()
	}()
	w.node.Leave(ctx)
	return w.node.Close()
}

// reload loads the current configuration. A mistake changes nothing.
func (w *worker) reload(e *env) {
	cfg, err := w.load.node()
	if err == nil {
		err = checkToken(&cfg.Local)
	}
	if err != nil {
		w.node.ReloadRefused()
		w.replies.send(eventRefused, err)
		return
	}
	err = w.node.Reload(e.ctx, *cfg)
	switch {
	case errors.Is(err, node.ErrRestart):
		w.replies.send(eventRestart, err)
	case err != nil:
		w.replies.send(eventRefused, err)
	default:
		limitMemory(&cfg.Local, fromCgroup, w.log)
		if err := w.access.use(&cfg.Local); err != nil { // it was right a moment ago
			w.log.Error("the API keeps its old token", "err", err)
		}
		w.replies.send(eventReloaded, nil)
	}
	go debug.FreeOSMemory() // return the memory of the old configuration
}
