package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// maxHandshakes bounds the connections of a host that wait for their forwarder.
const maxHandshakes = 1024

// forwarder forwards TCP connections out of the lab. A listener cannot refuse a
// connection, because the stack accepts it first. A forwarder connects to its target
// first. When the target refuses, the host answers with a reset, so the peer sees the
// state of the target.
type forwarder struct {
	host  *Host
	ports []uint16
	open  func(context.Context) (net.Conn, error) // connects to the target

	ctx     context.Context
	cancel  context.CancelFunc
	tcp     *tcp.Forwarder
	mu      sync.Mutex // guards closed, and running against a late start
	closed  bool
	running sync.WaitGroup
}

// forward starts to forward connections to ports of the host. The host must not listen
// on them. A host has one forwarder at a time.
func (h *Host) forward(ports []uint16, open func(context.Context) (net.Conn, error)) *forwarder {
	f := &forwarder{host: h, ports: ports, open: open}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.tcp = tcp.NewForwarder(h.stack, 0, maxHandshakes, f.serve)
	h.forwarder.Store(f)
	return f
}

// handleTCP handles a packet without an endpoint. When it returns false, the stack sends
// a reset.
func (h *Host) handleTCP(id stack.TransportEndpointID, packet *stack.PacketBuffer) bool {
	f := h.forwarder.Load()
	return f != nil && slices.Contains(f.ports, id.LocalPort) && f.tcp.HandlePacket(id, packet)
}

// serve handles one connection. The stack starts a goroutine for it.
func (f *forwarder) serve(r *tcp.ForwarderRequest) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		r.Complete(true)
		return
	}
	f.running.Add(1)
	f.mu.Unlock()
	defer f.running.Done()
	f.host.gate.wait()
	to, err := f.open(f.ctx)
	if err != nil {
		r.Complete(true)
		return
	}
	defer to.Close()
	queue := new(waiter.Queue)
	endpoint, failed := r.CreateEndpoint(queue)
	r.Complete(false)
	if failed != nil {
		return // the peer is gone
	}
	from := &streamConn{gonet.NewTCPConn(queue, endpoint), &f.host.gate}
	defer from.Close()
	stop := context.AfterFunc(f.ctx, func() { from.Close(); to.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyTo(to, from)
	}()
	if err := copyTo(from, to); errors.Is(err, syscall.ECONNRESET) {
		endpoint.Abort() // a reset of the target is not an orderly end
	}
	<-done
}

// copyTo copies one direction and passes on its end.
func copyTo(to, from net.Conn) error {
	_, err := io.Copy(to, from)
	if h, ok := to.(interface{ CloseWrite() error }); ok {
		h.CloseWrite()
	}
	return err
}

// Close ends the connections. Later ones are refused.
func (f *forwarder) Close() error {
	f.host.forwarder.CompareAndSwap(f, nil)
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.host.Reset() // ends handshakes, which may otherwise wait for a peer that is gone
	f.running.Wait()
	return nil
}
