package dnsserver

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"perto/internal/netx"
)

// usualPacket is the first size of a connection's buffers, in bytes. Queries are small:
// a name, an OPT record and sometimes a signature.
const usualPacket = 4096

// servePackets is the portable UDP engine. It handles one packet at a time on any
// net.PacketConn.
func (s *Server) servePackets(r *netx.Responder) {
	in, out := make([]byte, 1<<16), make([]byte, 0, usualPacket) // the length of a datagram has 16 bits
	for {
		n, from, err := r.Read(in)
		if err != nil {
			if s.closing.Load() || isClosed(err) {
				return
			}
			continue
		}
		if reply := s.handle(in[:n], from, overUDP, out); len(reply) > 0 {
			r.Reply(reply) // a reply that cannot be sent is a lost packet: the resolver retries
		}
	}
}

// isClosed distinguishes a closed socket from a temporary error, such as a port
// unreachable message from an earlier client.
func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap()
}

// connections are the TCP connections of a server.
type connections struct {
	mu      sync.Mutex
	open    map[net.Conn]*tcpState
	clients map[netip.Prefix]int // open connections of each
	closed  bool
}

func (c *connections) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(conn)
}

// wake ends connections that wait for a query, and admits no new ones.
func (c *connections) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.open {
		conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// acceptLogEvery is the shortest time between two log lines about connections that cannot
// be accepted, for example without free descriptors.
const acceptLogEvery = 10 * time.Second

func (s *Server) serveStreams(l net.Listener) {
	var logged time.Time
	for {
		conn, err := l.Accept()
		if err != nil {
			if isClosed(err) {
				return
			}
			if now := time.Now(); now.Sub(logged) >= acceptLogEvery {
				logged = now
				s.cfg.Logger.Warn("cannot accept DNS over TCP", "err", err)
			}
			time.Sleep(10 * time.Millisecond) // out of descriptors: do not spin
			continue
		}
		source := addrOf(conn.RemoteAddr())
		state, result := s.conns.add(conn, source, s.limits.Load())
		s.tcpResult(result, source)
		if state == nil {
			conn.Close()
			continue
		}
		s.running.Go(func() {
			defer s.conns.remove(conn)
			defer conn.Close()
			s.serveStream(conn, source, state)
		})
	}
}

// serveStream answers the queries of one connection in order. Each message follows its
// length (RFC 1035, section 4.2.2).
func (s *Server) serveStream(conn net.Conn, source netip.Addr, state *tcpState) {
	in, out := make([]byte, usualPacket), make([]byte, 0, usualPacket)
	for {
		conn.SetReadDeadline(time.Now().Add(s.limits.Load().Idle))
		if s.closing.Load() { // checked after the deadline is set: Close wakes connections once
			return
		}
		if _, err := io.ReadFull(conn, in[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(in))
		if n > len(in) {
			in = make([]byte, n)
		}
		if _, err := io.ReadFull(conn, in[:n]); err != nil {
			return
		}
		state.begin()
		// The response is built behind its two length bytes.
		reply := s.handle(in[:n], source, overTCP, out[2:2])
		if len(reply) == 0 {
			return
		}
		if cap(reply) != cap(out)-2 { // it outgrew the buffer
			out = make([]byte, 0, 2+len(reply))
			reply = append(out[2:2], reply...)
		}
		message := out[:2+len(reply)]
		binary.BigEndian.PutUint16(message, uint16(len(reply)))
		conn.SetWriteDeadline(time.Now().Add(s.limits.Load().Write))
		if _, err := conn.Write(message); err != nil {
			return
		}
		state.end()
	}
}
