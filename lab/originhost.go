package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"

	"perto"
	"perto/config"
	"perto/lab/access"
	"perto/node"
)

// originAddrs are the addresses of origin.shop.example in world/shop.example.zone.
var originAddrs = []netip.Addr{netip.MustParseAddr("52.200.0.80"), netip.MustParseAddr("2a09:3c80::80")}

// startOrigin starts the host behind the CDN: the demo shop, or a relay to the user's
// own site. All origins of the World are this host.
func (l *Lab) startOrigin(ctx context.Context) error {
	place, addrs := l.cfg.OriginPlace, originAddrs
	var err error
	if place == (perto.Place{}) {
		place, err = l.cfg.Place("Ashburn, VA, US")
	} else {
		addrs, err = addressesNear(l.cfg.Geo, place)
	}
	if err != nil {
		return err
	}
	host, err := l.Internet.AddHost(HostConfig{Name: "origin", Kind: "origin", Addrs: addrs, End: End{Place: place}})
	if err != nil {
		return err
	}
	listen := map[string]bool{":80": true}
	for _, s := range l.World.World.Services {
		for _, o := range s.Origins {
			u, err := url.Parse(o.URL)
			if err != nil {
				return err
			}
			l.Internet.AddName(u.Hostname(), addrs...)
			if u.Port() != "" {
				listen[":"+u.Port()] = true
			}
		}
	}
	o := &originHost{lab: l, host: host, site: l.cfg.Origin}
	for p := range listen {
		o.ports = append(o.ports, p)
	}
	l.origin = o
	return o.start(ctx)
}

// originHost is the host behind the CDN. It is a [process], so it can be killed.
type originHost struct {
	lab    *Lab
	host   *Host
	ports  []string                  // ":80"
	site   string                    // the user's own site; "" means the shop
	server io.Closer                 // nil after a kill
	node   atomic.Pointer[node.Node] // the server of the shop; nil with a site of the user
}

func (o *originHost) alive() bool { return o.server != nil }

func (o *originHost) start(ctx context.Context) (err error) {
	if o.site != "" {
		relay, err := startRelay(ctx, o.host, o.ports, o.site)
		if err != nil {
			return err
		}
		o.server = relay
		return nil
	}
	local := config.Local{Name: o.host.Name, Roles: config.RoleOrigin, Place: o.host.End.Place, Addresses: o.host.Addrs, HTTP: o.ports}
	n, err := node.New(o.lab.nodeConfig(local, o.host))
	if err != nil {
		return err
	}
	o.server = n
	o.node.Store(n)
	return n.Start(ctx)
}

func (o *originHost) stop() error {
	if o.server == nil {
		return nil
	}
	s := o.server
	o.server = nil
	o.node.Store(nil)
	return s.Close()
}

// relayDoor forwards connections out of the lab, to a server of the machine.
type relayDoor struct {
	to        string // "host:port"
	listeners []net.Listener
	ctx       context.Context
	cancel    context.CancelFunc
	running   sync.WaitGroup
}

// startRelay forwards connections to the ports of a lab host to a site of the user.
func startRelay(ctx context.Context, from *Host, ports []string, site string) (*relayDoor, error) {
	fail := func(err error) error {
		return &perto.Error{Op: "reach origin", Path: site, Kind: perto.KindUnavailable, Err: err, Hint: "start your site first, and give its address as http://host:port"}
	}
	u, err := url.Parse(site)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return nil, &perto.Error{Op: "reach origin", Path: site, Kind: perto.KindInvalid, Err: errors.New(`not an http site; it takes "http://host:port"`)}
	}
	r := &relayDoor{to: u.Host}
	if u.Port() == "" {
		r.to = net.JoinHostPort(u.Hostname(), "80")
	}
	var d net.Dialer
	probe, err := d.DialContext(ctx, "tcp", r.to)
	if err != nil {
		return nil, fail(err)
	}
	probe.Close()
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for _, p := range ports {
		l, err := from.Listen(ctx, "tcp", p)
		if err != nil {
			r.Close()
			return nil, err
		}
		r.listeners = append(r.listeners, l)
		r.running.Go(func() { r.serve(l) })
	}
	return r, nil
}

func (r *relayDoor) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if r.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		r.running.Go(func() {
			defer c.Close()
			var d net.Dialer
			to, err := d.DialContext(r.ctx, "tcp", r.to)
			if err != nil {
				return
			}
			defer to.Close()
			stop := context.AfterFunc(r.ctx, func() { c.Close(); to.Close() })
			defer stop()
			access.Relay(c, c, to)
		})
	}
}

// Close ends the relay and its connections.
func (r *relayDoor) Close() error {
	r.cancel()
	for _, l := range r.listeners {
		l.Close()
	}
	r.running.Wait()
	return nil
}
