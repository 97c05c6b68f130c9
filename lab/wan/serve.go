package wan

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"perto"
)

// ServeConfig is the configuration of Serve.
type ServeConfig struct {
	Config        // Serve sets Out
	Device string // name of the TUN device
	Listen string // "IP:port" of the API
	DropTo *User  // user to run as after opening device and API; nil means no change
	// Ready is called with the address of the API when packets pass and the API serves.
	Ready func(api net.Addr)
}

// maxPacket is the largest IP packet, in bytes.
const maxPacket = 1<<16 - 1

// Serve runs the wan. It opens the device and the API, drops privileges, and forwards
// packets until the context ends. The caller's network namespace must be that of the
// device.
func Serve(ctx context.Context, cfg ServeConfig) error {
	var device *Device
	cfg.Out = func(packet []byte) error {
		_, err := device.Write(packet)
		return err
	}
	w, err := New(cfg.Config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return &perto.Error{Op: "serve API on", Path: cfg.Listen, Kind: perto.KindUnavailable, Err: err}
	}
	if device, err = OpenDevice(cfg.Device, cfg.Regions); err != nil {
		listener.Close()
		return err
	}
	if cfg.DropTo != nil {
		if err := DropPrivileges(*cfg.DropTo); err != nil {
			listener.Close()
			return errors.Join(err, device.Close())
		}
	}
	return w.serve(ctx, device, listener, cfg.Ready)
}

// serve runs the goroutines of a wan. It ends all of them when the context or one of
// them ends.
func (w *Wan) serve(parent context.Context, device *Device, listener net.Listener, ready func(net.Addr)) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	server := &http.Server{Handler: w.Handler(), ReadHeaderTimeout: 5 * time.Second}
	var all sync.WaitGroup
	all.Go(func() { w.Run(ctx) })
	all.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			cancel(&perto.Error{Op: "serve API on", Path: listener.Addr().String(), Kind: perto.KindUnavailable, Err: err})
		}
	})
	all.Go(func() {
		packet := make([]byte, maxPacket)
		for {
			n, err := device.Read(packet)
			if err != nil {
				cancel(&perto.Error{Op: "read from TUN device", Kind: perto.KindUnavailable, Err: err})
				return
			}
			w.Send(packet[:n])
		}
	})
	if ready != nil {
		ready(listener.Addr())
	}
	<-ctx.Done()
	server.Close()
	err := device.Close() // ends the reader
	all.Wait()
	if parent.Err() == nil { // a goroutine ended with an error
		return context.Cause(ctx)
	}
	return err
}
