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

	"perto"
)

// ModulePath is where a node serves modules to others, by digest.
const ModulePath = "/.perto/modules/"

const (
	// pullTime is what all sources together may take, sourceTime what one may.
	pullTime   = 30 * time.Second
	sourceTime = 10 * time.Second
	// After the first failure a module is asked for again in firstBackoff, then in
	// twice that, up to maxBackoff.
	firstBackoff = time.Second
	maxBackoff   = time.Minute
	// maxFailures is of how many modules a failure is remembered.
	maxFailures = 1024
)

// Puller fetches modules that releases name when they are first asked for. Its
// fields are not changed after the first Get.
type Puller struct {
	Store   *Store
	Sources func(perto.Service) []string // base URLs, best first: "http://origin.example"
	Client  *http.Client                 // nil: http.DefaultClient. Redirects are not followed.

	mu      sync.Mutex
	flights map[pull]*flight
	failed  map[pull]failure
}

// pull is one module from the sources of one service.
type pull struct {
	service perto.Service
	digest  string
}

// flight is a fetch that all who want the module wait for.
type flight struct {
	done chan struct{}
	wasm []byte
	err  error
}

type failure struct {
	count int
	until time.Time // asked again after
	err   error
}

// Get returns a module that a release or a declaration names: the Store's, or one
// that a source of the service has. Those who ask for the same one at the same time
// share one fetch. After a failure the same error comes for a while without asking.
func (p *Puller) Get(ctx context.Context, service perto.Service, digest string) ([]byte, error) {
	if wasm, ok := p.Store.Module(digest); ok {
		return wasm, nil
	}
	f, err := p.join(ctx, pull{service, digest})
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.wasm, f.err
	case <-ctx.Done():
		return nil, &perto.Error{Op: "pull module", Path: digest, Kind: perto.KindUnavailable, Err: context.Cause(ctx)}
	}
}

// join returns the fetch that is under way, or begins one.
func (p *Puller) join(ctx context.Context, what pull) (*flight, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.flights[what]; f != nil {
		return f, nil
	}
	if _, ok := p.Store.Wants(what.digest); !ok {
		return nil, &perto.Error{Op: "pull module", Path: what.digest, Kind: perto.KindNotFound, Err: errors.New("no release names it")}
	}
	if last, ok := p.failed[what]; ok {
		if wait := time.Until(last.until); wait > 0 {
			return nil, &perto.Error{Op: "pull module", Path: what.digest, Kind: perto.KindUnavailable, Err: last.err,
				Hint: fmt.Sprintf("the sources are asked again in %s", wait.Round(time.Millisecond))}
		}
	}
	if p.flights == nil {
		p.flights, p.failed = make(map[pull]*flight), make(map[pull]failure)
	}
	f := &flight{done: make(chan struct{})}
	p.flights[what] = f
	// Who came first may leave; the others still want it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pullTime)
	go func() {
		defer cancel()
		wasm, err := p.fetch(ctx, what)
		p.land(what, f, wasm, err)
	}()
	return f, nil
}

// land ends a fetch.
func (p *Puller) land(what pull, f *flight, wasm []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flights, what)
	if err == nil {
		delete(p.failed, what)
	} else {
		now := time.Now()
		last := p.failed[what]
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
		if len(p.failed) < maxFailures {
			p.failed[what] = last
		}
		err = &perto.Error{Op: "pull module", Path: what.digest, Kind: perto.KindUnavailable, Err: err}
	}
	f.wasm, f.err = wasm, err
	close(f.done)
}

// fetch asks one source after the other.
func (p *Puller) fetch(ctx context.Context, what pull) ([]byte, error) {
	if wasm, ok := p.Store.Module(what.digest); ok { // it came while we joined
		return wasm, nil
	}
	sources := p.Sources(what.service)
	if len(sources) == 0 {
		return nil, fmt.Errorf("%s has no source to pull code from", what.service)
	}
	var tried []string
	for _, base := range sources {
		shown, err := p.fetchFrom(ctx, base, what.digest)
		if err == nil {
			if wasm, ok := p.Store.Module(what.digest); ok {
				return wasm, nil
			}
			err = errors.New("it was removed as soon as it came")
		}
		tried = append(tried, shown+": "+err.Error())
	}
	return nil, errors.New(strings.Join(tried, "; "))
}

// fetchFrom brings a module from one source into the Store. It returns the source as
// an error may show it.
func (p *Puller) fetchFrom(ctx context.Context, base, digest string) (shown string, err error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return "a source", errors.New("its base is no URL")
	}
	shown = u.Redacted()
	ctx, cancel := context.WithTimeout(ctx, sourceTime)
	defer cancel()
	client := http.Client{}
	if p.Client != nil {
		client = *p.Client
	}
	// A source that sends us elsewhere could send us anywhere.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+ModulePath+digest, nil)
	if err != nil {
		return shown, errors.New("its base is no URL")
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
		return shown, fmt.Errorf("it sends %d bytes; the release allows %d", resp.ContentLength, limit)
	}
	err = p.Store.Put(ctx, digest, resp.Body)
	if e, ok := errors.AsType[*perto.Error](err); ok {
		err = e.Err // the digest is named by who reports
	}
	return shown, err
}

// reason is an HTTP client's error without the URL, which the report names anyway.
func reason(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
