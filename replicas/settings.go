package replicas

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"perto"
)

// Settings is the part of a [Config] that may change while the registry runs.
type Settings struct {
	Keys      []Key            // the first one signs, all verify; empty when heartbeats are off
	Witnesses []netip.AddrPort // the heartbeat ports of other DNS nodes
	Sites     []Site
	Declared  []Declared
	World     Digest // of the configuration of this node
}

// Reconfigure replaces the settings and returns after a Fleet with them is published.
// Replicas that stay keep their state. Replicas that are removed lose their probes. It
// fails when the registry or the context has ended.
func (r *Registry) Reconfigure(ctx context.Context, s Settings) error {
	return r.do(ctx, "reconfigure the registry", "", func(now time.Time) error {
		r.cfg.Settings = s
		r.keys = NewKeyring(s.Keys...)
		r.readerKeys.Store(&s.Keys)
		r.declare(s.Sites, s.Declared, now)
		return nil
	})
}

func (r *Registry) declare(sites []Site, declared []Declared, now time.Time) {
	r.sites = slices.SortedFunc(slices.Values(sites), func(a, b Site) int { return strings.Compare(string(a.Name), string(b.Name)) })
	stay := make(map[perto.Replica]*member, len(declared))
	r.sorted = r.sorted[:0]
	for _, d := range declared {
		m := r.members[d.Name]
		if m == nil {
			m = newMember(d, now)
		} else {
			m.declare(d, now)
		}
		stay[d.Name] = m
	}
	for name, m := range r.members {
		if stay[name] == nil {
			m.stop()
		}
	}
	r.members = stay
	for _, m := range stay {
		r.sorted = append(r.sorted, m)
	}
	defer r.setQuiet()
	slices.SortFunc(r.sorted, func(a, b *member) int { return strings.Compare(string(a.declared.Name), string(b.declared.Name)) })
	r.changed = true
}
