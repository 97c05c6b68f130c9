package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"perto"
	"perto/config"
	"perto/internal/printable"
	"perto/mobility"
)

// history returns the releases of a function, newest first. Of several nodes it takes the
// longest list.
func history(e *env, targets []target, service perto.Service, path string) (longest []mobility.Release, err error) {
	for _, t := range targets {
		h, herr := t.client.History(e.ctx, service, path)
		if herr != nil {
			if e, ok := errors.AsType[*perto.Error](herr); !ok || e.Kind != perto.KindNotFound {
				err = herr
			}
		} else if len(h) > len(longest) || len(h) == len(longest) && len(h) > 0 && h[0].Version > longest[0].Version {
			longest = h
		}
	}
	if len(longest) > 0 {
		err = nil
	} else if err == nil {
		err = &perto.Error{Op: "find function", Path: string(service) + path, Kind: perto.KindNotFound, Err: errors.New("no node has a release of it"), Hint: "perto fn list shows the functions"}
	}
	return longest, err
}

// codeOf names the code of a release.
func codeOf(r mobility.Release) string {
	if r.Removed {
		return "removed"
	}
	return fmt.Sprintf("sha256 %.12s", r.Digest)
}

type fnHistoryCmd struct {
	Function  fnName `arg:"" help:"SERVICE/PATH." placeholder:"FUNCTION" complete:"function"`
	fnTargets `embed:""`
}

// Run lists the versions that nodes keep.
func (c *fnHistoryCmd) Run(e *env) error {
	service, path, targets, err := c.of(e, c.Function)
	if err != nil {
		return err
	}
	list, err := history(e, targets, service, path)
	if err != nil {
		return err
	}
	return e.print(list, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "VERSION\tTIME\tCODE\tNOTE")
		for _, r := range list {
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", r.Version, r.Time.Local().Format(time.DateTime), codeOf(r), printable.Text(r.Note))
		}
		t.Flush()
	})
}

type fnRemoveCmd struct {
	Function  fnName `arg:"" help:"SERVICE/PATH." placeholder:"FUNCTION" complete:"function"`
	fnTargets `embed:""`
	fnKey     `embed:""`
}

// Run releases the removal of a function.
func (c *fnRemoveCmd) Run(e *env) error {
	service, path, targets, err := c.of(e, c.Function)
	if err != nil {
		return err
	}
	if list, err := history(e, targets, service, path); err == nil && list[0].Removed {
		return &perto.Error{Op: "remove function", Path: string(service) + path, Kind: perto.KindNotFound, Err: errors.New("it is already removed"), Hint: "perto fn rollback brings it back"}
	}
	if err := findFunction(e, "remove function", targets, service, path); err != nil {
		return err
	}
	return release(e, &c.fnTargets, &c.fnKey, mobility.Release{Service: service, Path: path, Removed: true}, nil, false)
}

// findFunction returns an error when no node has a function. The error offers a similar
// one.
func findFunction(e *env, op string, targets []target, service perto.Service, path string) (err error) {
	name := string(service) + path
	var known []string
	for _, t := range targets {
		l, failed := t.client.List(e.ctx)
		if failed != nil {
			err = failed
			continue
		}
		for _, f := range l.Desired {
			known = append(known, string(f.Service)+f.Path)
		}
	}
	if slices.Contains(known, name) {
		return nil
	}
	if err != nil {
		return err
	}
	hint := "perto fn list shows the functions"
	if best, ok := config.Closest(name, known); ok {
		hint = fmt.Sprintf("did you mean %s? %s", best, hint)
	}
	return &perto.Error{Op: op, Path: name, Kind: perto.KindNotFound, Err: errors.New("no node has this function"), Hint: hint}
}

type fnRollbackCmd struct {
	Function  fnName `arg:"" help:"SERVICE/PATH." placeholder:"FUNCTION" complete:"function"`
	Version   uint64 `arg:"" optional:"" help:"Version to go back to (default: the one before the current; perto fn history lists them)." placeholder:"VERSION"`
	fnTargets `embed:""`
	fnKey     `embed:""`
}

// Run releases older code again. Nodes still have it.
func (c *fnRollbackCmd) Run(e *env) error {
	service, path, targets, err := c.of(e, c.Function)
	if err != nil {
		return err
	}
	list, err := history(e, targets, service, path)
	if err != nil {
		return err
	}
	old, err := earlier(list, c.Version)
	if err != nil {
		return &perto.Error{Op: "roll back", Path: string(c.Function), Kind: perto.KindNotFound, Err: err, Hint: "perto fn history lists the versions"}
	}
	next := old
	next.Note = fmt.Sprintf(rollbackNote, origin(list, old.Version))
	return release(e, &c.fnTargets, &c.fnKey, next, nil, false)
}

// rollbackNote is the note of a rollback's release.
const rollbackNote = "rollback to version %d"

// origin returns the version that introduced the code of a version: itself, or the target
// of a rollback.
func origin(history []mobility.Release, version uint64) uint64 {
	for _, r := range history { // newest first: a rollback comes before its target
		var to uint64
		if r.Version == version && !r.Removed {
			if n, err := fmt.Sscanf(r.Note, rollbackNote, &to); n == 1 && err == nil && to < version {
				version = to
			}
		}
	}
	return version
}

// earlier finds the version for a rollback in a history, newest first. For version 0 it
// is the newest one before the origin of the current version, with other code or
// settings. So two rollbacks go two versions back, and never to a version that was
// rolled back.
func earlier(history []mobility.Release, version uint64) (mobility.Release, error) {
	current := history[0]
	if version != 0 {
		for _, r := range history[1:] {
			if r.Version == version && !r.Removed {
				return r, nil
			}
		}
		return mobility.Release{}, fmt.Errorf("version %d is not kept, is the newest, or removes the function", version)
	}
	from := origin(history, current.Version)
	for _, r := range history[1:] {
		if r.Version < from && !r.Removed && !sameRelease(&r, &current) {
			return r, nil
		}
	}
	if from != current.Version {
		return mobility.Release{}, fmt.Errorf("the current version runs the code of version %d, and no older version is kept", from)
	}
	return mobility.Release{}, errors.New("there is no older version")
}

func sameRelease(a, b *mobility.Release) bool {
	x, _ := json.Marshal(a.Settings)
	y, _ := json.Marshal(b.Settings)
	return a.Digest == b.Digest && string(x) == string(y)
}
