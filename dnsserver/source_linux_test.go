package dnsserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"perto/internal/netns"
	"perto/internal/netx"
)

// askConnected sends a query from a connected socket, as a resolver does. Such a socket
// receives only packets from the queried address. from is the client's address, or the
// zero value when the kernel chooses it.
func askConnected(from netip.Addr, server netip.AddrPort) error {
	var dialer net.Dialer
	if from.IsValid() {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	conn, err := dialer.Dial("udp", server.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	c := &dns.Conn{Conn: conn}
	if err := c.WriteMsg(message("txt.cdn.example", "TXT", nil)); err != nil {
		return err
	}
	reply, err := c.ReadMsg()
	if err == nil && len(reply.Answer) != 1 {
		err = fmt.Errorf("got %v", reply)
	}
	return err
}

// serveOn serves on one address until the test ends and returns its port.
func serveOn(t *testing.T, listen string) (port uint16, err error) {
	t.Helper()
	s := New(Config{Network: &netx.OS{}, Listen: []string{listen}, Readers: 2})
	s.SetView(testView(t))
	if err := s.Start(t.Context()); err != nil {
		return 0, err
	}
	t.Cleanup(func() { s.Close() })
	return s.Addrs()[0].Port(), nil
}

func TestWildcardListenerRepliesFromAskedAddress(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0", "127.0.0.2:0"} {
		t.Run(listen, func(t *testing.T) {
			port, err := serveOn(t, listen)
			if err != nil {
				t.Fatal(err)
			}
			asked := []string{"127.0.0.1", "127.0.0.2", "127.255.0.9"}
			if listen == "127.0.0.2:0" {
				asked = asked[1:2]
			}
			for _, a := range asked {
				if err := askConnected(netip.Addr{}, netip.AddrPortFrom(netip.MustParseAddr(a), port)); err != nil {
					t.Errorf("asked at %s: %v", a, err)
				}
			}
		})
	}
}

// TestWildcardListenerRepliesFromSecondIPv6 needs a host with two IPv6 addresses. A
// network namespace provides one.
func TestWildcardListenerRepliesFromSecondIPv6(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	host, err := netns.New()
	if err != nil {
		t.Skipf("cannot make network namespaces here: %v", err)
	}
	defer host.Close()
	// If the kernel chooses the source of a reply, it takes the client's own address
	// here.
	client := map[bool]netip.Addr{true: netip.MustParseAddr("192.0.2.9"), false: netip.MustParseAddr("2001:db8::9")}
	asked := []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"),
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	err = host.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		errs := []error{netlink.LinkSetUp(lo)}
		for _, a := range append(asked[1:], client[true], client[false]) {
			at := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}, Flags: unix.IFA_F_NODAD}
			errs = append(errs, netlink.AddrAdd(lo, at))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = host.Do(func() error {
		var errs []error
		for _, listen := range []string{":0", "[::]:0"} {
			port, err := serveOn(t, listen)
			if err != nil {
				return err
			}
			for _, a := range asked {
				if err := askConnected(client[a.Is4()], netip.AddrPortFrom(a, port)); err != nil {
					errs = append(errs, fmt.Errorf("listener %s asked at %s: %w", listen, a, err))
				}
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Error(err)
	}
}
