package netx

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Address is the listen address of a socket: network "tcp" or "udp", and "host:port".
type Address struct{ Network, Address string }

// Sockets are open sockets that a process keeps for its children. A child that serves
// on them may end and be replaced, while packets and connections wait in the sockets.
type Sockets struct {
	open map[Address]*os.File
}

// Open opens the sockets of a list that are not open yet. When one cannot be opened,
// nothing changes.
func (s *Sockets) Open(ctx context.Context, list []Address) error {
	opened := make(map[Address]*os.File)
	for _, a := range list {
		if s.open[a] != nil || opened[a] != nil {
			continue
		}
		f, err := openFile(ctx, a)
		if err != nil {
			for _, f := range opened {
				f.Close()
			}
			return err
		}
		opened[a] = f
	}
	if s.open == nil {
		s.open = make(map[Address]*os.File)
	}
	maps.Copy(s.open, opened)
	return nil
}

// List returns the addresses of the open sockets.
func (s *Sockets) List() []Address { return slices.Collect(maps.Keys(s.open)) }

// Keep closes the sockets with addresses that are not in a list.
func (s *Sockets) Keep(list []Address) {
	for a, f := range s.open {
		if !slices.Contains(list, a) {
			f.Close()
			delete(s.open, a)
		}
	}
}

// openFile opens a socket and returns it as a file. The caller must close it.
func openFile(ctx context.Context, a Address) (*os.File, error) {
	var config net.ListenConfig
	if strings.HasPrefix(a.Network, "udp") {
		config.Control = growReceiveBuffer
		p, err := config.ListenPacket(ctx, a.Network, a.Address)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		c := p.(*net.UDPConn)
		if isWildcard(c) { // queued packets keep their destination for the child
			if _, err := reportDestination(c); err != nil {
				return nil, err
			}
		}
		return duplicate(c, a)
	}
	l, err := config.Listen(ctx, a.Network, a.Address)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return duplicate(l.(*net.TCPListener), a)
}

// Close closes all sockets. Children keep their copies.
func (s *Sockets) Close() {
	for _, f := range s.open {
		f.Close()
	}
	s.open = nil
}

// inheritEnv is the environment variable with the sockets behind a child's standard
// streams: "tcp 127.0.0.1:80=3,udp :53=4".
const inheritEnv = "PERTO_SOCKETS"

// FirstFile is the descriptor of the first of [os/exec.Cmd.ExtraFiles] in the child.
const FirstFile = 3

// Pass returns the extra files and the environment variable with which a child takes
// the sockets over.
func (s *Sockets) Pass() (files []*os.File, env string) {
	var entries []string
	for a, f := range s.open {
		entries = append(entries, fmt.Sprintf("%s %s=%d", a.Network, a.Address, FirstFile+len(files)))
		files = append(files, f)
	}
	return files, inheritEnv + "=" + strings.Join(entries, ",")
}

// Inherited is the operating system's network with the sockets of a parent process. It
// opens sockets that the parent did not pass.
type Inherited struct {
	OS

	mu   sync.Mutex
	left map[Address]int // descriptors that are not in use yet
}

// Inherit takes over the parent's sockets from the environment.
func Inherit() (*Inherited, error) {
	n := &Inherited{left: make(map[Address]int)}
	text := os.Getenv(inheritEnv)
	if text == "" {
		return n, nil
	}
	for entry := range strings.SplitSeq(text, ",") {
		name, number, ok := strings.Cut(entry, "=")
		network, address, ok2 := strings.Cut(name, " ")
		fd, err := strconv.Atoi(number)
		if !ok || !ok2 || err != nil || fd < FirstFile {
			return nil, fmt.Errorf("%s has %q; it takes \"tcp 127.0.0.1:80=3\"", inheritEnv, entry)
		}
		n.left[Address{network, address}] = fd
	}
	return n, nil
}

// take returns the parent's socket for an address, or nil. Each socket can be taken
// once.
func (n *Inherited) take(network, address string) *os.File {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := Address{network, address}
	fd, ok := n.left[a]
	if !ok {
		return nil
	}
	delete(n.left, a)
	return os.NewFile(uintptr(fd), network+" "+address)
}

// Listen returns the parent's listener of an address, or opens one.
func (n *Inherited) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	f := n.take(network, address)
	if f == nil {
		return n.OS.Listen(ctx, network, address)
	}
	defer f.Close() // the listener has its own descriptor
	l, err := net.FileListener(f)
	return l, inheritError(err)
}

// ListenPacket returns the parent's packet socket of an address, or opens one.
func (n *Inherited) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	f := n.take(network, address)
	if f == nil {
		return n.OS.ListenPacket(ctx, network, address)
	}
	defer f.Close()
	p, err := net.FilePacketConn(f)
	return p, inheritError(err)
}

func inheritError(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errors.New("take over a socket of the parent"), err)
}
