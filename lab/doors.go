package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"perto"
	"perto/config"
	"perto/geodata"
	"perto/internal/lpm"
	"perto/lab/access"
)

// Ports has the first ports of the doors on 127.0.0.1. A port in use is replaced by the
// next free one.
type Ports struct {
	DNS       int  // of the authoritative servers, one after the other
	Resolvers int  // of the vantages' resolvers, one after the other
	SOCKS     int  // of the door that selects by user name, then one for each vantage
	Web       int  // of the vantages' web doors, one after the other
	Ephemeral bool // let the operating system choose all ports
}

// DefaultPorts are the doors' usual ports.
var DefaultPorts = Ports{DNS: 5300, Resolvers: 5320, SOCKS: 1080, Web: 8100}

// Door leads from a port of 127.0.0.1 into the lab.
type Door struct {
	Kind string         // "authoritative" or "resolver"
	To   string         // the server, or the vantage of the resolver
	Addr netip.AddrPort // on the host

	ctx     context.Context
	cancel  context.CancelFunc
	from    *Host
	server  netip.AddrPort
	packets net.PacketConn
	stream  net.Listener
	running sync.WaitGroup
}

// Doors returns the doors in order of their ports.
func (l *Lab) Doors() []*Door { return l.doors }

// maxPortTries is the number of ports that are tried when ports are in use.
const maxPortTries = 200

// openDoors opens the DNS doors.
func (l *Lab) openDoors(context.Context) error {
	host, err := l.addDoorHost()
	if err != nil {
		return err
	}
	l.doorHost = host
	port := l.cfg.Ports.DNS
	for _, s := range l.World.World.Servers {
		if !s.Roles.Has(config.RoleDNS) {
			continue
		}
		d, err := openDNSDoor("authoritative", s.Name, l.nextPort(&port), host, netip.AddrPortFrom(s.Addresses[0], 53))
		if err != nil {
			return err
		}
		l.doors = append(l.doors, d)
		port = int(d.Addr.Port()) + 1
	}
	port = max(port, l.cfg.Ports.Resolvers)
	for _, v := range l.vantages {
		d, err := openDNSDoor("resolver", v.Name, l.nextPort(&port), v.Host, netip.AddrPortFrom(v.Client.Resolver, 53))
		if err != nil {
			return err
		}
		l.doors = append(l.doors, d)
		port = int(d.Addr.Port()) + 1
	}
	return nil
}

func (l *Lab) nextPort(port *int) int {
	if l.cfg.Ports.Ephemeral {
		return 0
	}
	return *port
}

// addDoorHost adds the host that forwards the queries from doors to the authoritative
// servers. The map places its addresses in its city.
func (l *Lab) addDoorHost() (*Host, error) {
	place := l.cfg.DoorPlace
	addrs := []netip.Addr{netip.MustParseAddr("56.124.0.9"), netip.MustParseAddr("2a05:eac0::9")}
	if place != (perto.Place{}) {
		var err error
		if addrs, err = addressesNear(l.cfg.Geo, place); err != nil {
			return nil, err
		}
	} else {
		var err error
		if place, err = l.cfg.Place("São Paulo, SP, BR"); err != nil {
			return nil, err
		}
	}
	return l.Internet.AddHost(HostConfig{Name: "door", Kind: "door", Addrs: addrs, End: End{Place: place}})
}

// openDNSDoor opens one door for UDP and TCP at the first free port, starting with
// port.
func openDNSDoor(kind, to string, port int, from *Host, server netip.AddrPort) (*Door, error) {
	d := &Door{Kind: kind, To: to, from: from, server: server}
	for try := 0; ; try++ {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		p, err := net.ListenPacket("udp", address)
		if err == nil {
			d.packets = p
			if d.stream, err = net.Listen("tcp", p.LocalAddr().String()); err == nil {
				break
			}
			p.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) || try >= maxPortTries {
			return nil, &perto.Error{Op: "open door", Path: address, Kind: perto.KindUnavailable, Err: err}
		}
		if port != 0 {
			port++
		}
	}
	d.Addr = netip.MustParseAddrPort(d.packets.LocalAddr().String())
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.running.Go(d.servePackets)
	d.running.Go(d.serveStreams)
	return d, nil
}

func (d *Door) close() {
	d.cancel()
	d.packets.Close()
	d.stream.Close()
	d.running.Wait()
}

// doorWait is the timeout of a query through a door.
const doorWait = 10 * time.Second

func (d *Door) servePackets() {
	buf := make([]byte, 4096)
	for {
		n, from, err := d.packets.ReadFrom(buf)
		if err != nil {
			if d.ctx.Err() != nil {
				return
			}
			continue
		}
		query := append([]byte(nil), buf[:n]...)
		d.running.Go(func() {
			if reply, err := d.ask(query); err == nil {
				d.packets.WriteTo(reply, from)
			}
		})
	}
}

// ask sends one unchanged packet into the lab and returns the response.
func (d *Door) ask(query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(d.ctx, doorWait)
	defer cancel()
	c, err := d.from.DialContext(ctx, "udp", d.server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	reply := make([]byte, 4096)
	n, err := c.Read(reply)
	return reply[:n], err
}

func (d *Door) serveStreams() {
	for {
		c, err := d.stream.Accept()
		if err != nil {
			if d.ctx.Err() != nil {
				return
			}
			continue
		}
		d.running.Go(func() {
			defer c.Close()
			ctx, cancel := context.WithTimeout(d.ctx, doorWait)
			defer cancel()
			to, err := d.from.DialContext(ctx, "tcp", d.server.String())
			if err != nil {
				return
			}
			defer to.Close()
			stop := context.AfterFunc(d.ctx, func() { c.Close(); to.Close() })
			defer stop()
			access.Relay(c, io.Reader(c), to)
		})
	}
}

// String describes the door, for example "resolver tokyo at 127.0.0.1:5321".
func (d *Door) String() string { return fmt.Sprintf("%s %s at %s", d.Kind, d.To, d.Addr) }

// addressesNear returns an IPv4 and, if there is one, an IPv6 address that the map
// places near a place. They are in the largest networks of the cells of the same
// country within nearKm.
func addressesNear(geo *geodata.Map, place perto.Place) ([]netip.Addr, error) {
	const nearKm = 60 // the map's precision
	near := make(map[geodata.Cell]bool)
	for c := geodata.Cell(1); int(c) < geo.NumCells(); c++ {
		p := geo.Place(c)
		if p.DistanceKm(place) <= nearKm && (place.Country == "" || p.Country == place.Country) {
			near[c] = true
		}
	}
	var out []netip.Addr
	r4 := geo.Ranges4()
	var size, start uint64
	for i, r := range r4 {
		end := uint64(1) << lpm.Bits4
		if i+1 < len(r4) {
			end = uint64(r4[i+1].Start)
		}
		if n := end - uint64(r.Start); near[r.Value] && n > size {
			size, start = n, uint64(r.Start)
		}
	}
	if size == 0 {
		return nil, &perto.Error{Op: "find an address in", Path: place.String(), Kind: perto.KindNotFound, Err: errors.New("the map has no network there")}
	}
	out = append(out, hostIn(lpm.Prefix4(uint32(start), 24).Addr(), 0, 9))
	r6 := geo.Ranges6()
	size = 0
	for i, r := range r6 {
		end := uint64(1) << lpm.Bits6
		if i+1 < len(r6) {
			end = r6[i+1].Start
		}
		if n := end - r.Start; near[r.Value] && n > size {
			size, start = n, r.Start
		}
	}
	if size > 0 {
		out = append(out, hostIn(lpm.Prefix6(start, 48).Addr(), 0, 9))
	}
	return out, nil
}
