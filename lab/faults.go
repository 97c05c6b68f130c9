package lab

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"perto"
	"perto/config"
	"perto/mobility"
	"perto/node"
)

// Fault is an action on a host.
type Fault string

// The faults, and their end.
const (
	Kill   Fault = "kill"   // ends the process: connections are reset, later ones refused
	Freeze Fault = "freeze" // pauses the process: packets wait
	Cut    Fault = "cut"    // disconnects the host: packets are lost
	Heal   Fault = "heal"   // ends all faults, and starts a process that was killed
)

// process is a process on a host that can be killed.
type process interface {
	alive() bool
	start(ctx context.Context) error
	stop() error // at once, like kill -9
}

// machine is a host that runs a Node. It is a [process].
type machine struct {
	lab   *Lab
	host  *Host
	local config.Local
	node  atomic.Pointer[node.Node] // nil after a kill
}

func (m *machine) alive() bool { return m.node.Load() != nil }

func (m *machine) start(ctx context.Context) error {
	n, err := node.New(m.lab.nodeConfig(m.local, m.host))
	if err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	m.node.Store(n)
	return nil
}

// nodeConfig returns the configuration of a Node of the lab.
func (l *Lab) nodeConfig(local config.Local, host *Host) node.Config {
	return node.Config{Local: local, World: l.World.World, Network: host, Geo: l.cfg.Geo, Keys: l.keys,
		Trust: []mobility.PublicKey{l.signing.Public()}, Code: l.code, Logger: l.cfg.Logger.With("node", local.Name)}
}

func (m *machine) stop() error {
	if n := m.node.Swap(nil); n != nil {
		return n.Kill()
	}
	return nil
}

// Do applies a fault to the host with a name, or to all edges of the PoP with that
// name.
func (l *Lab) Do(ctx context.Context, target string, f Fault) error {
	l.faults.Lock()
	defer l.faults.Unlock()
	hosts := []string{target}
	for _, p := range l.World.World.PoPs {
		if string(p.Name) == target {
			hosts = nil
			for _, e := range p.Edges {
				hosts = append(hosts, string(e.Name))
			}
		}
	}
	for _, host := range hosts {
		if err := l.do(ctx, host, f); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) do(ctx context.Context, host string, f Fault) error {
	fail := func(kind perto.Kind, err error) error {
		return &perto.Error{Op: string(f), Path: host, Kind: kind, Err: err}
	}
	h := l.Internet.Host(host)
	if h == nil {
		return &perto.Error{Op: string(f), Path: host, Kind: perto.KindNotFound, Err: errors.New("no such host or PoP in the lab"), Hint: "\"perto status\" lists the edges, \"perto lab vantages\" lists the vantages"}
	}
	p := l.processOn(h)
	switch f {
	case Freeze:
		h.Freeze()
		if p != nil {
			h.gate.close()
		}
	case Cut:
		h.Cut()
	case Kill:
		if p == nil {
			return fail(perto.KindInvalid, errors.New("only nodes and the origin can be killed; use cut or freeze"))
		}
		if !p.alive() {
			return fail(perto.KindConflict, errors.New("the process was killed before"))
		}
		h.Reset()
		h.gate.open() // so that a frozen process can end
		return p.stop()
	case Heal:
		h.Heal()
		if p != nil && !p.alive() {
			if err := p.start(ctx); err != nil {
				return err
			}
		}
		// An experiment can be repeated: the name servers forget that the edge died.
		for _, m := range l.machines {
			if n := m.node.Load(); n != nil && m.host.State() == "up" {
				_ = n.Forgive(ctx, perto.Replica(host)) // a node that ends meanwhile forgets too
			}
		}
	default:
		return fail(perto.KindInvalid, fmt.Errorf("%q is none of kill, freeze, cut, heal", f))
	}
	return nil
}

// processOn returns the process on a host, or nil when there is none that can be
// killed.
func (l *Lab) processOn(h *Host) process {
	if l.origin.host == h {
		return l.origin
	}
	for _, m := range l.machines {
		if m.host == h {
			return m
		}
	}
	return nil
}

// Cut disconnects a host: packets from and to it are lost until Heal.
func (h *Host) Cut() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.cut = true
}

// Freeze makes packets from and to a host wait until Heal.
func (h *Host) Freeze() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.frozen = true
}

// Heal ends Cut and Freeze, and delivers the packets that waited.
func (h *Host) Heal() {
	n := h.net
	n.mu.Lock()
	h.cut, h.frozen = false, false
	h.gate.open()
	held, arrived := h.held, h.arrived
	h.held, h.arrived = nil, nil
	for _, p := range held {
		if dst, ok := destination(p.data, p.v6); ok {
			n.sendLocked(h, dst, p.data, p.v6)
		}
	}
	n.mu.Unlock()
	for _, p := range arrived {
		n.handOver(p)
	}
}

// Reset breaks all connections and closes all listeners of the host, as the kernel does
// at the end of a process. Peers receive a reset, and new connections are refused.
func (h *Host) Reset() {
	for _, ep := range h.stack.RegisteredEndpoints() {
		ep.Abort()
	}
	for _, ep := range h.stack.CleanupEndpoints() {
		ep.Abort()
	}
}

// State returns the state of the host: "up", "cut" or "frozen".
func (h *Host) State() string {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	switch {
	case h.cut:
		return "cut"
	case h.frozen:
		return "frozen"
	}
	return "up"
}
