package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"perto"
	"perto/lab/access"
)

// socksDoor is one SOCKS port on 127.0.0.1.
type socksDoor struct {
	Vantage  string // "" for the door that selects by user name
	Addr     netip.AddrPort
	listener net.Listener
	server   *access.SOCKS
	serving  sync.WaitGroup
}

func (d *socksDoor) close() {
	d.listener.Close()
	d.server.Close()
	d.serving.Wait()
}

// openSOCKS opens the door that selects the vantage by user name. It also opens one
// door without authentication for each vantage, because browsers do not authenticate.
func (l *Lab) openSOCKS(context.Context) error {
	port := l.cfg.Ports.SOCKS
	byName := func(user string) (access.Dialer, error) {
		if user == "" {
			user = l.vantages[0].Name
		}
		v, err := l.Vantage(strings.ToLower(user))
		if err != nil {
			return nil, err
		}
		return &v.Client, nil
	}
	if err := l.openSOCKSDoor("", &port, byName); err != nil {
		return err
	}
	for _, v := range l.vantages {
		if err := l.openSOCKSDoor(v.Name, &port, func(string) (access.Dialer, error) { return &v.Client, nil }); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) openSOCKSDoor(vantage string, port *int, pick func(string) (access.Dialer, error)) error {
	for try := 0; ; try++ {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(l.nextPort(port)))
		listener, err := net.Listen("tcp", address)
		if err == nil {
			d := &socksDoor{Vantage: vantage, Addr: netip.MustParseAddrPort(listener.Addr().String()), listener: listener, server: &access.SOCKS{Pick: pick}}
			d.serving.Go(func() { d.server.Serve(listener) })
			l.socks = append(l.socks, d)
			*port = int(d.Addr.Port()) + 1
			return nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) || try >= maxPortTries {
			return &perto.Error{Op: "open SOCKS door", Path: address, Kind: perto.KindUnavailable, Err: err}
		}
		*port++
	}
}

// SOCKSDoor returns the address of a vantage's door. With "" it returns the address of
// the door that selects by user name.
func (l *Lab) SOCKSDoor(vantage string) (netip.AddrPort, error) {
	for _, d := range l.socks {
		if d.Vantage == vantage {
			return d.Addr, nil
		}
	}
	return netip.AddrPort{}, &perto.Error{Op: "find SOCKS door of", Path: vantage, Kind: perto.KindNotFound, Err: fmt.Errorf("no such vantage")}
}
