package edge

import (
	"errors"
	"fmt"

	"perto"
)

// Purge removes the stored replies for a URL, in all variants, and returns how many
// objects that were. host and target are as a client would send them. A host that the
// edge does not serve, and a target that no request can have, are errors.
func (e *Edge) Purge(host, target string) (int, error) {
	authority, name := appendAuthority(nil, []byte(host))
	r := e.sites.Load().find(name)
	if r == nil {
		return 0, &perto.Error{Op: "purge", Path: host + target, Kind: perto.KindNotFound, Err: fmt.Errorf("the edge serves no host %q", host)}
	}
	key, ok := r.appendKey(nil, authority, []byte(target))
	if !ok {
		return 0, &perto.Error{Op: "purge", Path: host + target, Kind: perto.KindInvalid, Err: errors.New("no request can have this path")}
	}
	n := e.cache.Purge(key)
	e.fetcher.Invalidate(string(key))
	return n, nil
}

// PurgeTag removes everything with a surrogate key and returns how many objects
// that were. What is being fetched meanwhile is not stored if it has that key.
func (e *Edge) PurgeTag(tag string) int { return e.fetcher.PurgeTag(tag) }

// PurgeAll removes every stored reply and returns how many objects that were. Replies
// that are being fetched meanwhile are not stored.
func (e *Edge) PurgeAll() int { return e.fetcher.PurgeAll() }
