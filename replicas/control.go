package replicas

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"perto"
)

// SetAdmin lets an administrator overrule what is known of a replica: "drain",
// "up" or "down" until a time, or "" to end it.
func (r *Registry) SetAdmin(ctx context.Context, name perto.Replica, admin string, until time.Time) error {
	fail := func(kind perto.Kind, err error) error {
		return &perto.Error{Op: "set replica", Path: string(name), Kind: kind, Err: err}
	}
	switch admin {
	case "", "drain", "up", "down":
	default:
		return fail(perto.KindInvalid, fmt.Errorf("%q is none of drain, up, down", admin))
	}
	result := make(chan error, 1)
	r.tell(ctx, func(time.Time) {
		l := r.leases[name]
		if l == nil {
			result <- fail(perto.KindNotFound, errors.New("no such replica"))
			return
		}
		l.admin, l.adminUntil = admin, until
		result <- nil
	})
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Report tells of trouble that another room had with a replica. It proves
// nothing by itself: the replica is asked at once.
func (r *Registry) Report(ctx context.Context, name perto.Replica) {
	r.tell(ctx, func(now time.Time) {
		if l := r.leases[name]; l != nil && !l.asking && !l.heard.IsZero() && l.silentFor(now) < suspectAfter {
			l.heard = now.Add(-suspectAfter)
			l.asked = time.Time{}
		}
	})
}

// SetDeclared takes a new configuration; replicas that stay keep their state.
func (r *Registry) SetDeclared(ctx context.Context, sites []Site, declared []Declared, probes map[perto.Replica][]Probe) {
	r.tell(ctx, func(now time.Time) {
		r.cfg.Sites = sites
		r.declare(declared, probes, now)
		r.dirty = true
	})
}

// saved is the state file: one line of JSON, behind the SHA-256 of it in
// hexadecimal and a space (docs/formats/fleet.md).
type saved struct {
	Version  int                            `json:"version"`
	Replicas map[perto.Replica]savedReplica `json:"replicas"`
}

type savedReplica struct {
	State string    `json:"state"`
	Admin string    `json:"admin,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

const savedVersion = 1

// save writes the state file, whole or not at all.
func (r *Registry) save() error {
	s := saved{Version: savedVersion, Replicas: make(map[perto.Replica]savedReplica)}
	for name, l := range r.leases {
		s.Replicas[name] = savedReplica{State: l.state.String(), Admin: l.admin, Until: l.adminUntil}
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	line := append([]byte(hex.EncodeToString(sum[:])+" "), data...)
	if err := os.MkdirAll(filepath.Dir(r.cfg.StateFile), 0o755); err != nil {
		return err
	}
	tmp := r.cfg.StateFile + ".new"
	if err := os.WriteFile(tmp, append(line, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, r.cfg.StateFile)
}

// load takes over what an administrator said before the restart. Everybody else
// starts as assumed up: what was down will soon be found so again, and what came
// back meanwhile must not wait.
func (r *Registry) load(now time.Time) error {
	line, err := os.ReadFile(r.cfg.StateFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	const sumSize = 2 * sha256.Size
	if len(line) < sumSize+2 || line[sumSize] != ' ' {
		return errors.New("the file is damaged")
	}
	data := line[sumSize+1 : len(line)-1]
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != string(line[:sumSize]) {
		return errors.New("the file is damaged: wrong checksum")
	}
	var s saved
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if s.Version != savedVersion {
		return fmt.Errorf("version %d, this perto reads %d", s.Version, savedVersion)
	}
	for name, x := range s.Replicas {
		if l := r.leases[name]; l != nil && x.Admin != "" && now.Before(x.Until) {
			l.admin, l.adminUntil = x.Admin, x.Until
			l.state, l.reason = l.judge(now, r.cfg.Listen != "", false)
		}
	}
	return nil
}
