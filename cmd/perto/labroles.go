package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"perto"
	"perto/config"
	"perto/internal/api"
	"perto/internal/netx"
	"perto/lab"
	"perto/lab/access"
	"perto/lab/vantage"
	"perto/node"
)

// The lab's roles as separate processes, for worlds made of containers.

type labResolverCmd struct {
	Name   string       `help:"Name of the resolver." default:"resolver"`
	Listen hostPort     `help:"Address to listen on, UDP and TCP." default:":53" placeholder:"IP:PORT"`
	Root   []netip.Addr `required:"" help:"Addresses of root name servers." placeholder:"ADDR"`
	ECS    bool         `name:"ecs" help:"Send the client's subnet to name servers (RFC 7871)."`
	IPv6   bool         `name:"ipv6" help:"Query name servers over IPv6 too."`
}

// Run serves DNS to clients until it is interrupted.
func (c *labResolverCmd) Run(e *env) error {
	r := &access.Resolver{Station: osStation(c.Name, c.IPv6), Roots: c.Root, SendECS: c.ECS, Listen: string(c.Listen)}
	if err := r.Start(); err != nil {
		return &perto.Error{Op: "resolve on", Path: string(c.Listen), Kind: perto.KindUnavailable, Err: err}
	}
	defer r.Close()
	return e.serveRole(&node.Status{Name: c.Name, Roles: []string{"resolver"}, Started: time.Now(), Replicas: []node.ReplicaStatus{}}, http.NewServeMux())
}

type labClientCmd struct {
	Name     string     `required:"" help:"Name of the vantage." placeholder:"NAME"`
	Place    string     `required:"" help:"City of the client." placeholder:"CITY"`
	Resolver netip.Addr `required:"" help:"Address of its resolver." placeholder:"ADDR"`
	SOCKS    hostPort   `name:"socks" help:"Address of the SOCKS 5 door." default:":1080" placeholder:"IP:PORT"`
	IPv6     bool       `name:"ipv6" help:"Connect over IPv6 too."`
}

// Run runs a client with a SOCKS door until it is interrupted.
func (c *labClientCmd) Run(e *env) error {
	find, err := places()
	if err != nil {
		return err
	}
	where, err := find(c.Place)
	if err != nil {
		return err
	}
	client := &access.Client{Station: osStation(c.Name, c.IPv6), Resolver: c.Resolver}
	listener, err := net.Listen("tcp", string(c.SOCKS))
	if err != nil {
		return &perto.Error{Op: "open SOCKS door on", Path: string(c.SOCKS), Kind: perto.KindUnavailable, Err: err}
	}
	door := &access.SOCKS{Pick: func(string) (access.Dialer, error) { return client, nil }}
	served := make(chan struct{})
	go func() {
		defer close(served)
		door.Serve(listener)
	}()
	defer func() {
		listener.Close()
		door.Close()
		<-served
	}()
	single := &vantage.Single{Client: client, Info: vantage.Info{Name: c.Name, Place: where.String(), Where: where, Kind: "isp", Resolver: c.Resolver.String(), SOCKS: string(c.SOCKS)}}
	mux := http.NewServeMux()
	(&vantage.API{World: single}).Register(mux)
	return e.serveRole(single.Status(e.ctx), mux)
}

type labPageCmd struct {
	Config  string     `short:"c" required:"" help:"The world's configuration." placeholder:"FILE"`
	Console hostPort   `required:"" help:"A name server's API." placeholder:"HOST:PORT"`
	Node    []hostPort `help:"API of an edge, for its counters. Repeat the flag for each edge." placeholder:"HOST:PORT"`
	Vantage []hostPort `required:"" help:"API of a client. Repeat the flag for each client." placeholder:"HOST:PORT"`
}

// Run serves the page of a world made of processes until it is interrupted.
func (c *labPageCmd) Run(e *env) error {
	place, err := places()
	if err != nil {
		return err
	}
	cfg, err := config.Load(c.Config, place)
	if err != nil {
		return err
	}
	remote := &vantage.Remote{Clients: addresses(c.Vantage), Console: string(c.Console), Nodes: addresses(c.Node), World: &cfg.World}
	mux := http.NewServeMux()
	mux.Handle("/", remote.Handler())
	(&vantage.API{World: lab.WithProximity(remote, &cfg.World)}).Register(mux)
	pages, err := remote.Pages()
	if err != nil {
		return err
	}
	defer pages.Close()
	pages.Register(mux)
	return e.serveRole(nil, mux)
}

func addresses(list []hostPort) (out []string) {
	for _, a := range list {
		out = append(out, string(a))
	}
	return out
}

// serveRole serves a role's API until the context ends. When status is nil, the mux
// serves the status.
func (e *env) serveRole(status *node.Status, mux *http.ServeMux) error {
	if status != nil {
		mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, r *http.Request) { api.WriteJSON(w, status) })
	}
	listener, err := net.Listen("tcp", e.api)
	if err != nil {
		return &perto.Error{Op: "serve API on", Path: e.api, Kind: perto.KindUnavailable, Err: err}
	}
	server := &http.Server{Handler: api.Guard(mux), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(e.ctx, func() { server.Close() })
	fmt.Fprintln(e.out, "ready, API on", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// osStation returns this machine on the operating system's network. Its addresses only
// show which address families it has.
func osStation(name string, ipv6 bool) *access.Station {
	s := &access.Station{Network: &netx.OS{}, Name: name, Addrs: []netip.Addr{netip.IPv4Unspecified()}}
	if ipv6 {
		s.Addrs = append(s.Addrs, netip.IPv6Unspecified())
	}
	return s
}
