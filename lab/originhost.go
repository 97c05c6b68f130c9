package lab

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"perto"
	"perto/config"
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
	o := &originHost{lab: l, host: host, site: l.site}
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
	site   *url.URL                  // the user's own site; nil means the shop
	server io.Closer                 // nil after a kill
	node   atomic.Pointer[node.Node] // the server of the shop; nil with a site of the user
}

func (o *originHost) alive() bool { return o.server != nil }

func (o *originHost) start(ctx context.Context) (err error) {
	if o.site != nil {
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

// startRelay forwards connections to ports of a lab host to the user's own site. When
// the site refuses a connection, the host refuses it too.
func startRelay(ctx context.Context, from *Host, ports []string, site *url.URL) (io.Closer, error) {
	to := net.JoinHostPort(site.Hostname(), sitePort(site))
	var d net.Dialer
	open := func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, relayDialTimeout)
		defer cancel()
		return d.DialContext(ctx, "tcp", to)
	}
	probe, err := open(ctx)
	if err != nil {
		return nil, &perto.Error{Op: "reach origin", Path: site.String(), Kind: perto.KindUnavailable, Err: err, Hint: "start your site first, and give its address as http://host:port"}
	}
	probe.Close()
	var list []uint16
	for _, p := range ports {
		n, err := strconv.ParseUint(strings.TrimPrefix(p, ":"), 10, 16)
		if err != nil {
			return nil, &perto.Error{Op: "relay to origin", Path: p, Kind: perto.KindInvalid, Err: err}
		}
		list = append(list, uint16(n))
	}
	return from.forward(list, open), nil
}

// relayDialTimeout bounds a connection to the user's site. It is shorter than the edges'
// timeout, so that they see a refusal and not a silence.
const relayDialTimeout = 4 * time.Second

// parseSite reads the URL of the user's site.
func parseSite(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	mistake := ""
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		mistake = "not an http site"
	case u.Scheme == "https":
		mistake = "the lab reaches sites by http only"
	case u.User != nil:
		text, mistake = u.Redacted(), "an origin has no user name"
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		mistake = "an origin has no path: the edges add that of each request"
	default:
		return u, nil
	}
	return nil, &perto.Error{Op: "reach origin", Path: text, Kind: perto.KindInvalid, Err: errors.New(mistake + `; it takes "http://host:port"`)}
}

func sitePort(site *url.URL) string { return cmp.Or(site.Port(), "80") }

// useSite makes the user's site the origin of every service. Origins get the port of the
// site, because a site may write its port into redirects. Edges send the site's own host
// and port in Host: development servers refuse other hosts. The demo's functions are for
// the shop only.
func (l *Lab) useSite() error {
	site, err := parseSite(l.cfg.Origin)
	if err != nil {
		return err
	}
	l.site = site
	host := cmp.Or(l.cfg.OriginHost, site.Host)
	if u, err := url.Parse("http://" + host); err != nil || u.Host != host || strings.ContainsAny(host, "%*@,") {
		return &perto.Error{Op: "read host of origin", Path: host, Kind: perto.KindInvalid, Err: errors.New(`not a host; it takes "name" or "name:port"`)}
	}
	services := slices.Clone(l.World.World.Services)
	for i := range services {
		s := &services[i]
		if l.cfg.World == nil {
			s.Functions = nil
		}
		s.Origins = slices.Clone(s.Origins)
		for k := range s.Origins {
			u, err := url.Parse(s.Origins[k].URL)
			if err != nil {
				return err
			}
			s.Origins[k].URL, s.Origins[k].Host = "http://"+net.JoinHostPort(u.Hostname(), sitePort(site)), host
		}
	}
	own := *l.World
	own.World.Services = services
	l.World = &own
	return nil
}
