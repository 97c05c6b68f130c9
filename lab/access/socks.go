package access

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// SOCKS is a SOCKS 5 server (RFC 1928). Connections through it come from a vantage of
// the lab and use the resolver of that vantage. It supports CONNECT only. The user name
// (RFC 1929) selects the vantage. Any password is accepted, also an empty one.
type SOCKS struct {
	// Pick returns the Dialer for a user name, or an error that lists the names. The
	// name is empty for a client without authentication.
	Pick func(user string) (Dialer, error)

	running sync.WaitGroup
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	closed  bool
}

// Dialer connects to "host:port" from some place.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Codes of RFC 1928 and RFC 1929.
const (
	socksVersion = 5
	authVersion  = 1

	methodNone     = 0
	methodPassword = 2
	methodRefused  = 0xff

	commandConnect = 1

	addressIPv4 = 1
	addressName = 3
	addressIPv6 = 4

	replyOK              = 0
	replyFailure         = 1
	replyHostUnreachable = 4
	replyRefused         = 5
	replyNoCommand       = 7
	replyNoAddressType   = 8
)

const (
	socksHandshake = 10 * time.Second // for all messages of the client
	socksDial      = 30 * time.Second
)

// Serve accepts clients until the listener is closed.
func (s *SOCKS) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if !s.track(c) {
			c.Close()
			continue
		}
		s.running.Go(func() {
			defer s.forget(c)
			s.serve(c)
		})
	}
}

// Close closes the connections and waits for their end. The caller must close the
// listener before.
func (s *SOCKS) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

func (s *SOCKS) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.conns == nil {
		s.conns = make(map[net.Conn]struct{})
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *SOCKS) forget(c net.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	c.Close()
}

func (s *SOCKS) serve(c net.Conn) {
	c.SetDeadline(time.Now().Add(socksHandshake))
	in := bufio.NewReader(c)
	user, err := negotiate(in, c)
	if err != nil {
		return
	}
	dialer, err := s.Pick(user)
	if user != "" { // RFC 1929: the reply to name and password
		status := byte(0)
		if err != nil {
			status = 1
		}
		c.Write([]byte{authVersion, status})
	}
	if err != nil {
		return
	}
	target, code, err := readRequest(in)
	if err != nil {
		if code != replyOK {
			writeReply(c, code, netip.AddrPort{})
		}
		return
	}
	c.SetDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(context.Background(), socksDial)
	stop := s.cancelOnClose(c, in, cancel)
	to, err := dialer.DialContext(ctx, "tcp", target)
	stop()
	cancel()
	if err != nil {
		writeReply(c, replyCode(err), netip.AddrPort{})
		return
	}
	if !s.track(to) {
		to.Close()
		return
	}
	defer s.forget(to)
	local, _ := netip.ParseAddrPort(to.LocalAddr().String())
	if writeReply(c, replyOK, local) != nil {
		return
	}
	Relay(c, in, to)
}

// cancelOnClose ends a dial when its client disconnects. Bytes that the client sends
// before the reply stay in its reader.
func (s *SOCKS) cancelOnClose(c net.Conn, in *bufio.Reader, cancel func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := in.Peek(1); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
				cancel()
			}
		}
	}()
	return func() {
		c.SetReadDeadline(time.Unix(1, 0)) // wakes Peek
		<-done
		c.SetReadDeadline(time.Time{})
	}
}

// negotiate reads the client's methods, chooses one and reads the user name. It prefers
// method 2, because the user name selects the vantage.
func negotiate(in *bufio.Reader, out io.Writer) (user string, err error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return "", err
	}
	if head[0] != socksVersion {
		return "", fmt.Errorf("socks: version %d", head[0])
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(in, methods); err != nil {
		return "", err
	}
	method := byte(methodRefused)
	for _, m := range methods {
		if m == methodPassword || m == methodNone && method == methodRefused {
			method = m
		}
	}
	if _, err := out.Write([]byte{socksVersion, method}); err != nil {
		return "", err
	}
	switch method {
	case methodRefused:
		return "", errors.New("socks: no supported authentication method")
	case methodNone:
		return "", nil
	}
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return "", err
	}
	if head[0] != authVersion || head[1] == 0 {
		return "", errors.New("socks: bad user name")
	}
	name := make([]byte, head[1])
	if _, err := io.ReadFull(in, name); err != nil {
		return "", err
	}
	length, err := in.ReadByte()
	if err != nil {
		return "", err
	}
	if _, err := in.Discard(int(length)); err != nil {
		return "", err
	}
	return string(name), nil
}

// readRequest reads the request and returns its target as "host:port". With an error it
// returns the code of the reply, where replyOK means that no reply is sent.
func readRequest(in *bufio.Reader) (target string, code byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return "", replyOK, err
	}
	if head[0] != socksVersion {
		return "", replyFailure, fmt.Errorf("socks: version %d", head[0])
	}
	var host string
	switch head[3] {
	case addressIPv4, addressIPv6:
		raw := make([]byte, map[byte]int{addressIPv4: 4, addressIPv6: 16}[head[3]])
		if _, err := io.ReadFull(in, raw); err != nil {
			return "", replyOK, err
		}
		a, _ := netip.AddrFromSlice(raw)
		host = a.Unmap().String()
	case addressName:
		n, err := in.ReadByte()
		if err != nil {
			return "", replyOK, err
		}
		name := make([]byte, n)
		if _, err := io.ReadFull(in, name); err != nil {
			return "", replyOK, err
		}
		if host = string(name); host == "" {
			return "", replyFailure, errors.New("socks: empty name")
		}
	default:
		return "", replyNoAddressType, fmt.Errorf("socks: address type %d", head[3])
	}
	var port [2]byte
	if _, err := io.ReadFull(in, port[:]); err != nil {
		return "", replyOK, err
	}
	if head[1] != commandConnect {
		return "", replyNoCommand, fmt.Errorf("socks: command %d", head[1])
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port[:])))), replyOK, nil
}

func replyCode(err error) byte {
	switch {
	case isRefused(err):
		return replyRefused
	case errors.Is(err, context.DeadlineExceeded), isNotFound(err):
		return replyHostUnreachable
	}
	return replyFailure
}

// writeReply writes the reply to a request. bound is the local address of the
// connection to the target.
func writeReply(w io.Writer, code byte, bound netip.AddrPort) error {
	b := []byte{socksVersion, code, 0, addressIPv4, 0, 0, 0, 0}
	if bound.Addr().Is6() && !bound.Addr().Is4In6() {
		b = append(b[:3], addressIPv6)
		b = append(b, bound.Addr().AsSlice()...)
	} else if a := bound.Addr().Unmap(); a.IsValid() {
		b = append(b[:4], a.AsSlice()...)
	}
	b = binary.BigEndian.AppendUint16(b, bound.Port())
	_, err := w.Write(b)
	return err
}

// Relay copies in both directions until both end. It passes on the end of one direction
// as a half close.
func Relay(client net.Conn, clientIn io.Reader, server net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(server, clientIn)
		closeWrite(server)
	}()
	io.Copy(client, server)
	closeWrite(client)
	<-done
}

func closeWrite(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		h.CloseWrite()
		return
	}
	c.Close()
}
