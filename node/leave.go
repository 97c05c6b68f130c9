package node

import (
	"context"
	"slices"
	"time"

	"perto/config"
)

// leaveGrace is how long an edge that leaves serves beyond the TTL of its last answers.
// A name server that misses the message notices the silence after 2.4 s
// (docs/architecture.md), and resolvers round the TTL.
const leaveGrace = 3 * time.Second

// Leave prepares the planned end of an edge. The edge reports to the name servers that
// it drains, so that new answers avoid it. It serves until the answers that clients and
// resolvers hold have expired, or the context ends. Call Close next. Leave returns at
// once when no other edge can take over, or no answer names this edge.
func (n *Node) Leave(ctx context.Context) {
	cfg := n.cfg()
	wait := n.leaveWait(cfg)
	if wait == 0 {
		return
	}
	log := cfg.Logger
	if longest := cfg.Local.Limits.DrainWait; wait > longest {
		log.Warn("drain_wait is shorter than the TTL of the answers: some clients will fail to connect", "drain_wait", longest, "needed", wait)
		wait = longest
	}
	until := time.Now().Add(wait)
	n.leaving.Store(&until)
	n.sender.Announce()
	log.Info("the edge leaves: new answers avoid it, and it serves clients with cached answers", "node", cfg.Local.Name, "wait", wait, "hint", "a second signal ends the wait")
	select {
	case <-time.After(wait):
		log.Info("the cached answers have expired", "node", cfg.Local.Name)
	case <-ctx.Done():
		log.Warn("the wait for cached answers was cut short", "node", cfg.Local.Name, "left", time.Until(until).Round(time.Second))
	}
}

// leaveWait returns how long clients may hold answers that name this edge. It is 0 when
// waiting helps none of them: without heartbeats the name servers do not learn of the
// end in advance, and the only edge of a service stays in the answers.
func (n *Node) leaveWait(cfg *Config) time.Duration {
	if n.edge == nil || n.sender == nil || cfg.Local.Limits.DrainWait == 0 || len(senderTargets(cfg)) == 0 {
		return 0
	}
	pop, _ := edgeOf(&cfg.World, cfg.Local.Name)
	var wait time.Duration
	for i := range cfg.World.Services {
		s := &cfg.World.Services[i]
		if serves(s, pop) && hasOtherEdge(&cfg.World, s, cfg.Local.Name) {
			wait = max(wait, s.Map.TTL+leaveGrace)
		}
	}
	if wait == 0 {
		return 0
	}
	return max(wait, time.Until(time.Unix(0, n.oldAnswers.Load())).Round(time.Millisecond))
}

// rememberAnswers records how long clients may hold answers of a configuration that was
// replaced now. Its TTL may be longer than that of the next one.
func (n *Node) rememberAnswers(old *Config) {
	if wait := n.leaveWait(old); wait > 0 {
		n.oldAnswers.Store(max(n.oldAnswers.Load(), time.Now().Add(wait).UnixNano()))
	}
}

// hasOtherEdge reports whether a service has an edge beside one.
func hasOtherEdge(w *config.World, s *config.Service, name string) bool {
	return slices.ContainsFunc(w.PoPs, func(p config.PoP) bool {
		return serves(s, p.Name) && slices.ContainsFunc(p.Edges, func(e config.Edge) bool { return string(e.Name) != name })
	})
}
