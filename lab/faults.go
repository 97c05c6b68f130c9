package lab

import (
	"context"
	"errors"
	"fmt"

	"perto"
)

// Fault is what can be done to a host.
type Fault string

// The faults, and their end.
const (
	Kill   Fault = "kill"   // its process dies: connections are reset, later ones refused
	Freeze Fault = "freeze" // it stops: packets wait
	Cut    Fault = "cut"    // it is off the network: silence
	Heal   Fault = "heal"   // everything is well again; a dead process is started anew
)

// Do applies a fault to a host by its name.
func (l *Lab) Do(ctx context.Context, host string, f Fault) error {
	l.faults.Lock()
	defer l.faults.Unlock()
	fail := func(kind perto.Kind, err error) error {
		return &perto.Error{Op: string(f), Path: host, Kind: kind, Err: err}
	}
	h := l.Internet.Host(host)
	if h == nil {
		return &perto.Error{Op: string(f), Path: host, Kind: perto.KindNotFound, Err: errors.New("no such host in the lab"), Hint: "perto status lists the edges, perto lab vantages the others"}
	}
	var m *machine
	for _, x := range l.machines {
		if x.host == h {
			m = x
		}
	}
	switch f {
	case Freeze:
		h.Freeze()
	case Cut:
		h.Cut()
	case Kill:
		if m == nil {
			return fail(perto.KindInvalid, errors.New("only hosts that run a node can be killed; cut or freeze it"))
		}
		dead := m.node.Swap(nil)
		if dead == nil {
			return fail(perto.KindConflict, errors.New("it is dead already"))
		}
		h.Reset()
		return dead.Kill()
	case Heal:
		h.Heal()
		if m != nil && m.node.Load() == nil {
			return l.boot(ctx, m)
		}
	default:
		return fail(perto.KindInvalid, fmt.Errorf("%q is none of kill, freeze, cut, heal", f))
	}
	return nil
}

// Cut takes a host off the network in silence: packets from and to it are lost
// until Heal.
func (h *Host) Cut() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.cut = true
}

// Freeze stops a host as SIGSTOP would: packets from and to it wait until Heal.
func (h *Host) Freeze() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.frozen = true
}

// Heal ends Cut and Freeze. What waited is delivered now.
func (h *Host) Heal() {
	n := h.net
	n.mu.Lock()
	h.cut, h.frozen = false, false
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

// Reset breaks every connection and closes every listener of the host, as the
// kernel does when a process dies: peers get a reset, new connections are
// refused.
func (h *Host) Reset() {
	for _, ep := range h.stack.RegisteredEndpoints() {
		ep.Abort()
	}
	for _, ep := range h.stack.CleanupEndpoints() {
		ep.Abort()
	}
}

// State says in a word what was done to the host: "up", "cut" or "frozen".
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
