package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"perto"
	"perto/lab/access"
)

// webDoor is an HTTP port on 127.0.0.1. A browser that opens it gets the site as one
// vantage sees it.
type webDoor struct {
	Vantage string
	Addr    netip.AddrPort
	web     *access.Web
	server  *http.Server
	cancel  context.CancelFunc
	serving sync.WaitGroup
}

func (d *webDoor) close() {
	d.cancel()
	d.server.Close()
	d.serving.Wait()
	d.web.Close()
}

// openWeb opens a web door for each vantage. Each has its own port, so that a browser
// separates the sites that it shows.
func (l *Lab) openWeb(context.Context) error {
	site := l.World.World.Site()
	if site == "" {
		return nil // there is nothing to show
	}
	port := l.cfg.Ports.Web
	for _, v := range l.vantages {
		d, err := openWebDoor(v, site, l.nextPort(&port))
		if err != nil {
			return err
		}
		l.web = append(l.web, d)
		port = int(d.Addr.Port()) + 1
	}
	return nil
}

// openWebDoor opens one door at the first free port, starting with port.
func openWebDoor(v *Vantage, site string, port int) (*webDoor, error) {
	for try := 0; ; try++ {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			if !errors.Is(err, syscall.EADDRINUSE) || try >= maxPortTries {
				return nil, &perto.Error{Op: "open web door", Path: address, Kind: perto.KindUnavailable, Err: err}
			}
			port++
			continue
		}
		d := &webDoor{Vantage: v.Name, Addr: netip.MustParseAddrPort(listener.Addr().String()), web: access.NewWeb(&v.Client, site)}
		ctx, cancel := context.WithCancel(context.Background())
		d.cancel = cancel
		d.server = &http.Server{Handler: d.web, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
			BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: log.New(io.Discard, "", 0)}
		d.serving.Go(func() { d.server.Serve(listener) })
		return d, nil
	}
}

// WebDoor returns the address of a vantage's web door.
func (l *Lab) WebDoor(vantage string) (netip.AddrPort, error) {
	for _, d := range l.web {
		if d.Vantage == vantage {
			return d.Addr, nil
		}
	}
	return netip.AddrPort{}, &perto.Error{Op: "find web door of", Path: vantage, Kind: perto.KindNotFound, Err: fmt.Errorf("no such vantage, or the world has no site")}
}
