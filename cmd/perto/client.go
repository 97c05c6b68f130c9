package main

import (
	"fmt"
	"net"
	"net/http"
	"net/url"

	"perto/config"
	"perto/internal/api"
	"perto/node"
)

// apiTarget selects the node that a command asks, by its configuration: address and token
// of its API are there.
type apiTarget struct {
	Config string `short:"c" help:"Configuration of the node on this machine, which has the address and the token of its API." env:"PERTO_CONFIG" placeholder:"FILE"`
	Node   string `help:"Name of this machine in the file (default: the only one, or the host name)." env:"PERTO_NODE" placeholder:"NAME"`
}

// use sends the requests of e to the target, unless --api names another.
func (t *apiTarget) use(e *env) { e.config, e.node = t.Config, t.Node }

// resolve finds the address and the token of the API, once. --api and --token-file have
// precedence over the configuration.
func (e *env) resolve() error {
	if e.resolved {
		return nil
	}
	e.resolved = true
	if e.tokenFile != "" {
		var err error
		if e.token, err = api.ReadToken(e.tokenFile); err != nil {
			return err
		}
	}
	if e.config == "" {
		return nil
	}
	_, local, err := (&runCmd{Config: e.config, Node: e.node}).outline()
	if err != nil {
		return err
	}
	if !e.apiGiven {
		e.api = ownAPI(local)
	}
	if e.token == "" && local.TokenFile != "" {
		e.token, err = api.ReadToken(local.TokenFile)
	}
	return err
}

// ownAPI returns the address at which this machine reaches its own API.
func ownAPI(local *config.Local) string {
	if local.API == "" {
		return api.UnixPrefix + node.ControlSocket(local)
	}
	host, port, err := net.SplitHostPort(local.API)
	if err != nil {
		return local.API
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// get sends a GET to the API and decodes the response into out.
func (e *env) get(path string, query url.Values, out any) error {
	return e.call("GET", path, query, out)
}

// post sends a POST to the API and decodes the response into out.
func (e *env) post(path string, query url.Values, out any) error {
	return e.call("POST", path, query, out)
}

func (e *env) call(method, path string, query url.Values, out any) error {
	if err := e.resolve(); err != nil {
		return err
	}
	return api.CallWithToken(e.ctx, e.token, method, e.api, path, query, out, fmt.Sprintf("is a lab or node running there? start one with %q, or name another with --api, or with -c and --node", program()+" lab"))
}

// client returns an HTTP client that sends the token. Call resolve first.
func (e *env) client() *http.Client {
	if e.token == "" {
		return nil
	}
	return &http.Client{Transport: tokenTransport{e.token}}
}

// tokenTransport adds the token of an API to requests.
type tokenTransport struct{ token string }

// RoundTrip sends a request with the token.
func (t tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return http.DefaultTransport.RoundTrip(r)
}
