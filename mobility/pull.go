package mobility

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"perto"
)

// ModulePath is the path under which a node serves modules to other nodes, by digest.
const ModulePath = "/.perto/modules/"

const (
	// pullTime is the time limit for all sources together, sourceTime for one.
	pullTime   = 30 * time.Second
	sourceTime = 10 * time.Second
	// After the first failure a module is not requested for firstBackoff, then for twice
	// as long each time, up to maxBackoff.
	firstBackoff = time.Second
	maxBackoff   = time.Minute
	// maxFailures is the most modules with a remembered failure.
	maxFailures = 1024
)

// Puller fetches modules at their first use. Its fields must not change after the first
// Get.
type Puller struct {
	Store   *Store
	Sources func(perto.Service) []string // base URLs, best first: "http://origin.example"
	Client  *http.Client                 // nil: http.DefaultClient. Redirects are not followed.

	flights singleflight.Group

	mu     sync.Mutex
	failed map[pull]failure
}

// pull is the key of a fetch: a module and the service with its sources.
type pull struct {
	service perto.Service
	digest  string
}

type failure struct {
	count int
	until time.Time // no new attempt before this time
	err   error
}

// Get returns a module that a release or a declaration names: from the Store, or from a
// source of the service. Concurrent calls for the same module share one fetch (single
// flight). For some time after a failure, Get returns the same error without a fetch.
func (p *Puller) Get(ctx context.Context, service perto.Service, digest string) ([]byte, error) {
	if wasm, ok := p.Store.Module(digest); ok {
		return wasm, nil
	}
	key := pull{service, digest}
	if err := p.refused(key); err != nil {
		return nil, err
	}
	result := p.flights.DoChan(string(service)+" "+digest, func() (any, error) {
		// The fetch goes on when the first caller is gone, because others may wait for it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pullTime)
		defer cancel()
		wasm, err := p.fetch(ctx, key)
		return wasm, p.note(key, err)
	})
	select {
	case r := <-result:
		wasm, _ := r.Val.([]byte)
		return wasm, r.Err
	case <-ctx.Done():
		return nil, &perto.Error{Op: "pull module", Path: digest, Kind: perto.KindUnavailable, Err: context.Cause(ctx)}
	}
}

// refused returns why a module is not fetched now, or nil.
func (p *Puller) refused(key pull) error {
	if _, ok := p.Store.Wants(key.digest); !ok {
		return &perto.Error{Op: "pull module", Path: key.digest, Kind: perto.KindNotFound, Err: errors.New("no release names it")}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.failed[key]
	if wait := time.Until(last.until); ok && wait > 0 {
		return &perto.Error{Op: "pull module", Path: key.digest, Kind: perto.KindUnavailable, Err: last.err,
			Hint: fmt.Sprintf("the next attempt is in %s", wait.Round(time.Millisecond))}
	}
	return nil
}

// note stores the result of a fetch for refused, and returns the error for the callers.
func (p *Puller) note(key pull, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.failed, key)
		return nil
	}
	now := time.Now()
	last := p.failed[key]
	last.count++
	last.err = err
	last.until = now.Add(min(firstBackoff<<min(last.count-1, 10), maxBackoff))
	if len(p.failed) >= maxFailures {
		for k, v := range p.failed {
			if now.After(v.until) {
				delete(p.failed, k)
			}
		}
	}
	if p.failed == nil {
		p.failed = make(map[pull]failure)
	}
	if len(p.failed) < maxFailures {
		p.failed[key] = last
	}
	return &perto.Error{Op: "pull module", Path: key.digest, Kind: perto.KindUnavailable, Err: err}
}

// fetch tries the sources in order.
func (p *Puller) fetch(ctx context.Context, key pull) ([]byte, error) {
	if wasm, ok := p.Store.Module(key.digest); ok { // it arrived before the fetch started
		return wasm, nil
	}
	sources := p.Sources(key.service)
	if len(sources) == 0 {
		return nil, fmt.Errorf("%s has no source for modules", key.service)
	}
	var tried []string
	for _, base := range sources {
		shown, err := p.fetchFrom(ctx, base, key.digest)
		if err == nil {
			if wasm, ok := p.Store.Module(key.digest); ok {
				return wasm, nil
			}
			err = errors.New("it was removed while it was fetched")
		}
		tried = append(tried, shown+": "+err.Error())
	}
	return nil, errors.New(strings.Join(tried, "; "))
}

// fetchFrom brings a module from one source into the Store. shown is the source without
// secrets, for errors.
func (p *Puller) fetchFrom(ctx context.Context, base, digest string) (shown string, err error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return "a source", errors.New("its base is not a URL")
	}
	shown = u.Redacted()
	ctx, cancel := context.WithTimeout(ctx, sourceTime)
	defer cancel()
	client := http.Client{}
	if p.Client != nil {
		client = *p.Client
	}
	// A redirect could lead to any host.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+ModulePath+digest, nil)
	if err != nil {
		return shown, errors.New("its base is not a URL")
	}
	resp, err := client.Do(req)
	if err != nil {
		return shown, reason(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return shown, errors.New(resp.Status)
	}
	if limit, _ := p.Store.Wants(digest); resp.ContentLength > limit {
		return shown, fmt.Errorf("it would send %d bytes; the release allows %d", resp.ContentLength, limit)
	}
	err = p.Store.Put(ctx, digest, resp.Body)
	if e, ok := errors.AsType[*perto.Error](err); ok {
		err = e.Err // the caller adds the digest
	}
	return shown, err
}

// reason returns an HTTP client's error without the URL, which the report names anyway.
func reason(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
