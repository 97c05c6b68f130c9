package vantage

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"

	"perto"
	"perto/config"
	"perto/internal/api"
	"perto/lab/access"
	"perto/node"
)

// Remote is a World with vantages in separate processes, each with the API of a
// [Single]. It calls them over HTTP.
type Remote struct {
	Clients []string // "host:port" of each vantage's API
	Console string   // "host:port" of a name server's API
	Nodes   []string // "host:port" of each edge's API, for its counters
	// World has the PoPs and services for the web console.
	World *config.World

	mu    sync.Mutex
	known []Info // of the APIs that have replied, in the order of Clients
	at    map[string]string
}

// Vantages returns the vantages with APIs that have replied until now.
func (r *Remote) Vantages() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) == len(r.Clients) {
		return r.known
	}
	lists := make([][]Info, len(r.Clients))
	ctx, cancel := context.WithTimeout(context.Background(), askWait)
	defer cancel()
	var asking sync.WaitGroup
	for i, c := range r.Clients {
		asking.Go(func() { _ = api.Call(ctx, "GET", c, "/api/lab/vantages", nil, &lists[i], "") }) // a client that is away is missing
	}
	asking.Wait()
	r.known, r.at = nil, make(map[string]string)
	for i, list := range lists {
		for _, v := range list {
			r.known = append(r.known, v)
			r.at[v.Name] = r.Clients[i]
		}
	}
	return r.known
}

// find returns the address of a vantage's API.
func (r *Remote) find(name string) (string, error) {
	r.Vantages()
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.at[name]; ok {
		return at, nil
	}
	return "", &perto.Error{Op: "find vantage", Path: name, Kind: perto.KindNotFound, Err: errors.New("no such vantage, or it does not reply"), Hint: "perto lab vantages lists them"}
}

// Dig asks a vantage's resolver.
func (r *Remote) Dig(ctx context.Context, from, name, qtype string) (*access.DigReply, error) {
	at, err := r.find(from)
	if err != nil {
		return nil, err
	}
	var reply access.DigReply
	if err := api.Call(ctx, "GET", at, "/api/lab/dig", url.Values{"from": {from}, "name": {name}, "type": {qtype}}, &reply, ""); err != nil {
		return nil, err
	}
	return &reply, nil
}

// Fetch fetches a URL from a vantage.
func (r *Remote) Fetch(ctx context.Context, from, target string, remember bool) (*access.Fetched, error) {
	at, err := r.find(from)
	if err != nil {
		return nil, err
	}
	var f fetchedWithBody
	query := url.Values{"from": {from}, "url": {target}, "body": {"1"}}
	if remember {
		query.Set("remember", "1")
	}
	if err := api.Call(ctx, "GET", at, "/api/lab/fetch", query, &f, ""); err != nil {
		return nil, err
	}
	f.Fetched.Body = f.Body
	return &f.Fetched, nil
}

// fetchedWithBody is the reply to a fetch with body=1.
type fetchedWithBody struct {
	access.Fetched
	Body []byte `json:"body"`
}

// Status asks the name server.
func (r *Remote) Status(ctx context.Context) *node.Status { return statusOf(ctx, r.Console) }

// statusOf asks a node for its status. It returns nil when there is no reply.
func statusOf(ctx context.Context, at string) *node.Status {
	var s node.Status
	if api.Call(ctx, "GET", at, "/api/status", nil, &s, "") != nil {
		return nil
	}
	return &s
}

// Handler forwards requests for status, explain and metrics to the name server.
func (r *Remote) Handler() http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(q *httputil.ProxyRequest) { q.SetURL(&url.URL{Scheme: "http", Host: r.Console}) }}
}

// Single is a World of one vantage: this process.
type Single struct {
	Info
	Client *access.Client
}

// Vantages returns the one vantage.
func (s *Single) Vantages() []Info { return []Info{s.Info} }

func (s *Single) check(from string) error {
	if from == "" || from == s.Name {
		return nil
	}
	return &perto.Error{Op: "find vantage", Path: from, Kind: perto.KindNotFound, Err: errors.New("this process is vantage " + s.Name)}
}

// Dig asks the resolver.
func (s *Single) Dig(ctx context.Context, from, name, qtype string) (*access.DigReply, error) {
	if err := s.check(from); err != nil {
		return nil, err
	}
	return s.Client.Dig(ctx, name, qtype)
}

// Fetch fetches a URL.
func (s *Single) Fetch(ctx context.Context, from, target string, remember bool) (*access.Fetched, error) {
	if err := s.check(from); err != nil {
		return nil, err
	}
	if !remember {
		s.Client.Forget()
	}
	f, err := s.Client.Fetch(ctx, target)
	if err != nil {
		return nil, err
	}
	f.Place = s.Place
	return f, nil
}

// Status returns the name and the role of the process.
func (s *Single) Status(context.Context) *node.Status {
	return &node.Status{Name: s.Name, Roles: []string{"client"}, Replicas: []node.ReplicaStatus{}}
}
