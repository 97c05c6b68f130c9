package replicas

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"perto"
)

// The orders of an administrator.
const (
	AdminDrain = "drain"
	AdminUp    = "up"
	AdminDown  = "down"
)

// SetAdmin records an administrator's order for a replica: [AdminDrain], [AdminUp],
// [AdminDown], or "" to cancel it. The order overrides all evidence until the given
// time, or without end when the time is zero. It survives a restart. To cancel an order
// also ends a hold-down, because the administrator vouches for the replica.
func (r *Registry) SetAdmin(ctx context.Context, name perto.Replica, word string, until time.Time) error {
	const op = "set admin state of"
	if !slices.Contains([]string{"", AdminDrain, AdminUp, AdminDown}, word) {
		return &perto.Error{Op: op, Path: string(name), Kind: perto.KindInvalid, Err: fmt.Errorf("unknown state %q: use drain, up or down", word)}
	}
	return r.do(ctx, op, string(name), func(now time.Time) error {
		m := r.members[name]
		if m == nil {
			return &perto.Error{Op: op, Path: string(name), Kind: perto.KindNotFound, Err: errors.New("no such edge"), Hint: "perto status lists the edges"}
		}
		m.admin, m.adminUntil = word, until
		if word == "" {
			m.hold = holdDown{}
		}
		r.changed = true
		r.judge(m, now, r.isolated(now))
		return nil
	})
}

// Forgive forgets the deaths of a replica, so that it returns without a hold-down.
func (r *Registry) Forgive(ctx context.Context, name perto.Replica) error {
	return r.do(ctx, "forgive", string(name), func(now time.Time) error {
		if m := r.members[name]; m != nil {
			m.hold = holdDown{}
			r.changed = true
			r.judge(m, now, r.isolated(now))
		}
		return nil
	})
}
