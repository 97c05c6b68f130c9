package wan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"perto"
)

// Routing: packets to a region's network use a table that routes all of them into the
// TUN device. Packets from the device and packets of this machine itself use the main
// table. No rule names a region's interface. A network may be disconnected and
// connected again after the process dropped its privileges, and then its interface is a
// new one. Strict reverse-path filtering (rp_filter=1) accepts both directions, because
// the kernel looks up the reverse path as if the packet had arrived on the outgoing
// interface.
const (
	routeTable = 5918 // an arbitrary number; the kernel's own tables are 253 to 255
	// Both come before the main table's rule, which has 32766.
	ownPriority  = 5917 // of rules for packets from the device or from this machine
	rulePriority = 5918 // of rules for packets to a region
)

// deviceQueue is the number of packets that the kernel queues while this process is not
// scheduled: 50 ms at 1 Gbps.
const deviceQueue = 4096

// Device is a TUN device that receives all packets between regions.
type Device struct {
	file  *os.File
	rules []*netlink.Rule
}

// OpenDevice makes a TUN device in the calling thread's network namespace, and routes
// the packets between the regions' networks into it. It needs CAP_NET_ADMIN and
// /dev/net/tun. A container must have an address in every region and forward packets
// (net.ipv4.ip_forward). Errors are of KindUnavailable and name the missing condition.
func OpenDevice(name string, regions []Region) (*Device, error) {
	families := familiesOf(regions)
	for _, f := range families {
		if err := f.checkForwarding(); err != nil {
			return nil, err
		}
	}
	mtu, err := regionMTU(regions)
	if err != nil {
		return nil, err
	}
	d := &Device{}
	if d.file, err = openTUN(name); err != nil {
		return nil, err
	}
	if err := d.route(name, mtu, families, regions); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Read reads one packet.
func (d *Device) Read(b []byte) (int, error) { return d.file.Read(b) }

// Write writes one packet.
func (d *Device) Write(b []byte) (int, error) { return d.file.Write(b) }

// Close removes the device. A Read that waits returns an error. After the process
// dropped its privileges, Close cannot remove the rules. Without the device they have
// no effect, and they end with the namespace.
func (d *Device) Close() error {
	for _, r := range d.rules {
		if err := netlink.RuleDel(r); err != nil && !errors.Is(err, unix.EPERM) {
			d.file.Close()
			return &perto.Error{Op: "remove rule", Path: r.String(), Kind: perto.KindUnavailable, Err: err}
		}
	}
	return d.file.Close()
}

// family is IPv4 or IPv6.
type family struct {
	number     int
	everything netip.Prefix
	sysctl     string // setting that enables forwarding
}

func familiesOf(regions []Region) []family {
	var v4, v6 bool
	for _, r := range regions {
		for _, p := range r.Prefixes {
			v4, v6 = v4 || p.Addr().Is4(), v6 || p.Addr().Is6()
		}
	}
	var out []family
	if v4 {
		out = append(out, family{unix.AF_INET, netip.PrefixFrom(netip.IPv4Unspecified(), 0), "net.ipv4.ip_forward"})
	}
	if v6 {
		out = append(out, family{unix.AF_INET6, netip.PrefixFrom(netip.IPv6Unspecified(), 0), "net.ipv6.conf.all.forwarding"})
	}
	return out
}

// checkForwarding checks the setting without changing it, because /proc/sys is
// read-only in a container.
func (f family) checkForwarding() error {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(f.sysctl, ".", "/"))
	if err == nil && strings.TrimSpace(string(b)) == "1" {
		return nil
	}
	if err == nil {
		err = errors.New("it is off, so the kernel would drop every packet between regions")
	}
	return &perto.Error{Op: "check sysctl", Path: f.sysctl, Kind: perto.KindUnavailable, Err: err,
		Hint: fmt.Sprintf(`set it to 1: in a compose file "sysctls: [%s=1]", elsewhere "sysctl -w %s=1"`, f.sysctl, f.sysctl)}
}

// regionMTU returns the largest MTU, in bytes, of the interfaces that have an
// address in the regions' networks. A region without one is an error.
func regionMTU(regions []Region) (mtu int, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return 0, &perto.Error{Op: "list interfaces", Kind: perto.KindUnavailable, Err: err}
	}
	found := make(map[netip.Prefix]bool)
	var seen []string
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			return 0, &perto.Error{Op: "list addresses of", Path: i.Name, Kind: perto.KindUnavailable, Err: err}
		}
		uses := false
		for _, a := range addrs {
			at, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			seen = append(seen, i.Name+" "+at.String())
			for _, r := range regions {
				for _, p := range r.Prefixes {
					if p.Contains(at.Addr()) {
						found[p], uses = true, true
					}
				}
			}
		}
		if uses {
			mtu = max(mtu, i.MTU)
		}
	}
	for _, r := range regions {
		for _, p := range r.Prefixes {
			if !found[p] {
				return 0, &perto.Error{Op: "find interface of region", Path: r.Name, Kind: perto.KindUnavailable,
					Err: fmt.Errorf("none has an address in %s; there are %s", p, strings.Join(seen, ", ")), Hint: "attach the wan to every region's network"}
			}
		}
	}
	return mtu, nil
}

// tunPath is the path of the TUN device. A compose file needs devices: [/dev/net/tun].
const tunPath = "/dev/net/tun"

// openTUN makes the device. It binds the device to its name before the Go runtime polls
// it, because a poll of an unbound device always reports an error.
func openTUN(name string) (*os.File, error) {
	fail := func(op string, err error) (*os.File, error) {
		return nil, &perto.Error{Op: op, Path: tunPath, Kind: perto.KindUnavailable, Err: err,
			Hint: `a container needs "devices: [/dev/net/tun]", user 0 and "cap_add: [NET_ADMIN]"`}
	}
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fail("open", err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, &perto.Error{Op: "name device", Path: name, Kind: perto.KindInvalid, Err: err}
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return fail("make device "+name+" of", err)
	}
	return os.NewFile(uintptr(fd), tunPath), nil
}

func (d *Device) route(name string, mtu int, families []family, regions []Region) error {
	fail := func(op, path string, err error) error {
		return &perto.Error{Op: op, Path: path, Kind: perto.KindUnavailable, Err: err, Hint: `a container needs user 0 and "cap_add: [NET_ADMIN]"`}
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fail("find device", name, err)
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return fail("set MTU of", name, err)
	}
	if err := netlink.LinkSetTxQLen(link, deviceQueue); err != nil {
		return fail("set queue of", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fail("bring up", name, err)
	}
	for _, f := range families {
		into := &netlink.Route{LinkIndex: link.Attrs().Index, Table: routeTable, Dst: ipNet(f.everything), Family: f.number}
		if err := netlink.RouteReplace(into); err != nil {
			return fail("route into", name, err)
		}
		for _, own := range []string{name, "lo"} {
			rule := netlink.NewRule()
			rule.Family, rule.IifName, rule.Table, rule.Priority = f.number, own, unix.RT_TABLE_MAIN, ownPriority
			if err := d.addRule(rule); err != nil {
				return fail("add rule for", own, err)
			}
		}
	}
	for _, r := range regions {
		for _, p := range r.Prefixes {
			rule := netlink.NewRule()
			rule.Family, rule.Dst, rule.Table, rule.Priority = unix.AF_INET, ipNet(p), routeTable, rulePriority
			if p.Addr().Is6() {
				rule.Family = unix.AF_INET6
			}
			if err := d.addRule(rule); err != nil {
				return fail("add rule for", p.String(), err)
			}
		}
	}
	return nil
}

// addRule adds a rule, unless an earlier wan has left the same one.
func (d *Device) addRule(rule *netlink.Rule) error {
	if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	d.rules = append(d.rules, rule)
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
