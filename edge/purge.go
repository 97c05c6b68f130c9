package edge

import (
	"errors"
	"fmt"

	"perto"
)

// Purge removes the stored replies for a URL, in all variants, and returns their
// number. host and target have the form in which clients send them. It returns an error
// for a host that the edge does not serve and for a target that no request can have.
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

// PurgeTag removes all stored replies with a surrogate key and returns their number.
// Replies that are being fetched are not stored if they have that key.
func (e *Edge) PurgeTag(tag string) int { return e.fetcher.PurgeTag(tag) }

// PurgeAll removes all stored replies and returns their number. Replies that are being
// fetched are not stored.
func (e *Edge) PurgeAll() int { return e.fetcher.PurgeAll() }
