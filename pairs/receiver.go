package pairs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"perto/internal/netx"
	"perto/replicas"
)

const (
	// exchangeWait is the timeout of one frame.
	exchangeWait = 10 * time.Second
	// maxConns is the number of frames that a Receiver reads at a time.
	maxConns = 32
)

// Receiver accepts frames at a name server: one on each connection.
type Receiver struct {
	Network netx.Network
	Listen  string
	Keys    func() []replicas.Key
	Add     func([]Pair) // receives the pairs of every frame that is signed
	Logger  *slog.Logger

	serving sync.WaitGroup
}

// reopenAfter is the interval at which Run tries to open its port.
const reopenAfter = time.Second

// open opens the port. While a predecessor on this machine has it, open tries again: pairs
// that are missed meanwhile come again.
func (r *Receiver) open(ctx context.Context) net.Listener {
	for try := 0; ; try++ {
		l, err := r.Network.Listen(ctx, "tcp", r.Listen)
		if err == nil {
			return l
		}
		if try == 0 {
			r.Logger.Info("the port for pairs cannot be opened yet", "listen", r.Listen, "err", err)
		}
		select {
		case <-time.After(reopenAfter):
		case <-ctx.Done():
			return nil
		}
	}
}

// Run serves until the context ends.
func (r *Receiver) Run(ctx context.Context) {
	listener := r.open(ctx)
	if listener == nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	slots := make(chan struct{}, maxConns)
	for {
		c, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				break
			}
			select { // without descriptors, wait for some to be closed
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		r.serving.Go(func() {
			defer func() { <-slots }()
			defer c.Close()
			if err := r.serve(c); err != nil {
				r.Logger.Warn("a report of pairs is rejected", "from", c.RemoteAddr().String(), "err", err)
			}
		})
	}
	r.serving.Wait()
}

func (r *Receiver) serve(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(exchangeWait)); err != nil {
		return err
	}
	frame, err := io.ReadAll(io.LimitReader(c, int64(maxFrame)+1))
	if err != nil {
		return err
	}
	if len(frame) > maxFrame {
		return fmt.Errorf("it has more than %d bytes", maxFrame)
	}
	list, err := ParseFrame(frame, time.Now(), r.Keys())
	if err != nil {
		return err
	}
	r.Add(list)
	_, err = c.Write([]byte("ok\n"))
	return err
}

// Send sends a frame to a receiver and waits until it is accepted.
func Send(ctx context.Context, network netx.Network, to string, frame []byte) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeWait)
	defer cancel()
	c, err := network.DialContext(ctx, "tcp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if _, err := c.Write(frame); err != nil {
		return err
	}
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		if err := w.CloseWrite(); err != nil {
			return err
		}
	}
	reply, err := io.ReadAll(io.LimitReader(c, 16))
	if err == nil && string(reply) != "ok\n" {
		err = errors.New("the report was rejected")
	}
	return err
}
