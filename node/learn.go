package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"perto"
	"perto/config"
	"perto/dnsserver"
	"perto/internal/snapshot"
	"perto/mapping"
	"perto/metrics"
	"perto/pairs"
	"perto/replicas"
)

const (
	// learnEvery is the interval at which edges send pairs, and name servers learn.
	learnEvery = 10 * time.Second
	// sendWait is the timeout of a report. A name server that is away delays nothing else.
	sendWait = 5 * time.Second
	// republishAfter is the time after which explanations have newer figures, also when no
	// answer changes.
	republishAfter = time.Minute
)

// learning joins the parts that learn where the clients of resolvers are. An edge with a
// network of tags collects pairs. A name server receives them and learns.
type learning struct {
	tags    netip.Prefix // of this node's edge; invalid without
	openers atomic.Pointer[[]*mapping.TagKeys]
	pairs   pairs.Collector

	learner  *mapping.Learner
	receiver *pairs.Receiver
	votes    *metrics.Counter
	latest   atomic.Pointer[mapping.Learned] // of the first service
}

// shownGroups is the number of groups in a status.
const shownGroups = 20

// costly returns the groups that lose most, and those that gained most.
func (l *learning) costly() []mapping.LearnedGroup {
	x := l.latest.Load()
	if x == nil {
		return nil
	}
	list := slices.Clone(x.Groups)
	cost := func(g mapping.LearnedGroup) perto.Millis { return max(g.Regret, g.GeoRTT-g.BestRTT) }
	slices.SortFunc(list, func(a, b mapping.LearnedGroup) int {
		return cmp.Or(cmp.Compare(cost(b), cost(a)), cmp.Compare(a.Group, b.Group))
	})
	return list[:min(len(list), shownGroups)]
}

// tagsOf returns the networks of tags of a World, or nil without any.
func tagsOf(w *config.World) *dnsserver.Tags {
	t := &dnsserver.Tags{Of: make(map[netip.Addr]netip.Prefix)}
	for _, p := range w.PoPs {
		for _, e := range p.Edges {
			for _, a := range e.Addresses {
				if e.Tags.IsValid() && a.Is6() {
					t.Of[a] = e.Tags
				}
			}
		}
	}
	if len(t.Of) == 0 {
		return nil
	}
	return t
}

// ownTags returns the network of tags of an edge.
func ownTags(w *config.World, name string) netip.Prefix {
	for _, p := range w.PoPs {
		for _, e := range p.Edges {
			if string(e.Name) == name {
				return e.Tags
			}
		}
	}
	return netip.Prefix{}
}

// accepted reads the tag of a new connection. The tag is the lower half of the address
// that the client used.
func (l *learning) accepted(local, client net.Addr) {
	to, ok := local.(*net.TCPAddr)
	from, ok2 := client.(*net.TCPAddr)
	if !ok || !ok2 {
		return
	}
	at := to.AddrPort().Addr()
	openers := l.openers.Load()
	if !l.tags.Contains(at) || openers == nil {
		return
	}
	b := at.As16()
	tag := binary.BigEndian.Uint64(b[8:])
	for _, k := range *openers {
		if g, ok := k.Open(tag); ok {
			l.pairs.Add(g, from.AddrPort().Addr().Unmap())
			return
		}
	}
}

// acceptedHook returns the function that reads tags, or nil for an edge without tags.
func (n *Node) acceptedHook() func(local, client net.Addr) {
	if !n.learning.tags.IsValid() {
		return nil
	}
	return n.learning.accepted
}

// setTagKeys derives the keys of tags for a time. The first key of the cluster seals, and all
// of them open.
func (n *Node) setTagKeys(at time.Time) {
	var openers []*mapping.TagKeys
	for _, k := range n.cfg().Keys {
		openers = append(openers, mapping.NewTagKeys(k.Secret[:], at))
	}
	n.learning.openers.Store(&openers)
	if n.dns != nil && len(openers) > 0 {
		n.dns.SetTagKeys(openers[0])
	}
}

// startLearning opens the port for pairs of a name server, if any edge has tags.
func (n *Node) startLearning(run context.Context) {
	cfg := n.cfg()
	if tagsOf(&cfg.World) == nil || len(cfg.Keys) == 0 {
		return
	}
	n.setTagKeys(time.Now())
	if n.dns != nil {
		n.learning.receiver = &pairs.Receiver{Network: cfg.Network, Listen: cfg.Local.Heartbeat, Logger: cfg.Logger,
			Keys: func() []replicas.Key { return n.cfg().Keys }, Add: n.addPairs}
		n.running.Go(func() { n.learning.receiver.Run(run) })
	}
	n.running.Go(func() { n.learn(run) })
}

// addPairs gives pairs to the learner, with the places of the clients.
func (n *Node) addPairs(list []pairs.Pair) {
	now := time.Now()
	for _, p := range list {
		client := p.Client.Prefix().Addr()
		if n.learning.learner.Add(now, p.Resolver.Prefix().Addr(), client, n.cfg().Geo.Lookup(client)) {
			n.learning.votes.Inc()
		}
	}
}

// learn runs until the context ends.
func (n *Node) learn(ctx context.Context) {
	tick := time.NewTicker(learnEvery)
	defer tick.Stop()
	published := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		n.setTagKeys(now)
		if n.edge != nil && n.learning.tags.IsValid() {
			n.sendPairs(ctx)
		}
		if n.dns == nil {
			continue
		}
		changed, err := n.publisher.learn(n.learning.learner, now, n.registry.Fleet(), now.Sub(published) >= republishAfter)
		if err != nil {
			n.cfg().Logger.Error("learned rankings stay as they are", "err", err)
		}
		if changed {
			published = now
		}
		n.learning.latest.Store(n.publisher.learned())
	}
}

// sendPairs sends the collected pairs to all name servers. A name server that does not
// reply misses them: the next connections bring more.
func (n *Node) sendPairs(ctx context.Context) {
	list := n.learning.pairs.Take()
	if len(list) == 0 {
		return
	}
	cfg := n.cfg()
	frame := pairs.AppendFrame(nil, time.Now(), list, cfg.Keys[0])
	ctx, cancel := context.WithTimeout(ctx, sendWait)
	defer cancel()
	var sending sync.WaitGroup
	for _, t := range heartbeatTargets(&cfg.World, cfg.Local.Addresses) {
		sending.Go(func() {
			if err := pairs.Send(ctx, cfg.Network, t.at.String(), frame); err != nil {
				cfg.Logger.Log(ctx, slog.LevelDebug, "a name server misses a report of pairs", "to", t.name, "err", err)
			}
		})
	}
	sending.Wait()
}

// learn ranks for the clients of resolvers and publishes a View when answers change, or
// when asked to. It reports whether it published.
func (p *publisher) learn(l *mapping.Learner, now time.Time, fleet *snapshot.Var[replicas.Fleet], always bool) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed, err := p.decider.learn(l, now)
	if err != nil || !changed && !(always && l.Groups() > 0) {
		return false, err
	}
	p.decider.useLearned()
	p.server.SetView(p.decider.view(fleet.Load(), p.server.View()))
	return true, nil
}

// learned returns the newest result for the first service, or nil.
func (p *publisher) learned() *mapping.Learned {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.decider.learned) == 0 {
		return nil
	}
	return p.decider.learned[0]
}

// learn computes the rankings of all maps, and reports whether answers change.
func (d *decider) learn(l *mapping.Learner, now time.Time) (changed bool, err error) {
	next := slices.Clone(d.learned)
	done := make(map[*mapping.Map]*mapping.Learned)
	for i, m := range d.maps {
		if done[m] == nil {
			if done[m], err = m.Learn(l, now, d.learned[i]); err != nil {
				return false, err
			}
		}
		next[i] = done[m]
		before := uint64(0)
		if d.learned[i] != nil {
			before = d.learned[i].Version()
		} else if len(next[i].Groups) > 0 {
			changed = true
		}
		changed = changed || d.learned[i] != nil && next[i].Version() != before
	}
	d.learned = next
	return changed, nil
}

// useLearned makes the newest rankings those of the next View.
func (d *decider) useLearned() {
	with := make(map[*mapping.Map]*mapping.Map)
	for i, m := range d.maps {
		if with[m] == nil {
			with[m] = m.With(d.learned[i])
		}
		d.current[i] = with[m]
	}
}
