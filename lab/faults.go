package lab

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
