package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"perto"
	"perto/config"
	"perto/lab"
	"perto/lab/wan"
)

// labWANCmd is "perto lab wan": see docs/wan.md.
type labWANCmd struct {
	API hostPort `name:"wan" help:"Address of the WAN emulator's API." default:"127.0.0.1:8090" env:"PERTO_WAN" placeholder:"IP:PORT"`

	Serve wanServeCmd `cmd:"" help:"Run the WAN emulator: carry packets between regions (Linux, as root)."`
	Show  wanShowCmd  `cmd:"" help:"Show the conditions between the regions, with packet counters."`
	Set   wanSetCmd   `cmd:"" help:"Change delay, jitter, loss or bandwidth of a region, or of a pair."`
	Cut   wanCutCmd   `cmd:"" help:"Disconnect a region or a pair without a message."`
	Heal  wanHealCmd  `cmd:"" help:"Restore the conditions of a region, a pair or everything to those at the start."`
	Join  wanJoinCmd  `cmd:"" help:"Add routes to the WAN emulator, drop privileges, and execute another command (Linux, as root)."`
}

type wanServeCmd struct {
	Config string   `short:"c" help:"A configuration. Each PoP becomes a region with the /24 or /64 networks of its edges." placeholder:"FILE"`
	Region []string `sep:"none" help:"A region: NAME=PREFIX[,PREFIX]@PLACE. Repeat the flag for each region, also together with -c." placeholder:"REGION"`
	Listen hostPort `help:"Address of the API." default:"127.0.0.1:8090" placeholder:"IP:PORT"`
	Seed   uint64   `help:"Seed of delays, loss and jitter. Equal seeds give equal delays (the lab's model)." default:"1"`
	Device string   `help:"Name of the TUN device." default:"tun0"`
	DropTo string   `help:"User and group to change to when everything is open; empty: no change." default:"65532:65532" placeholder:"UID:GID"`
}

// Run carries packets until it is interrupted.
func (c *wanServeCmd) Run(e *env) error {
	cfg := wan.ServeConfig{Device: c.Device, Listen: string(c.Listen)}
	cfg.Seed = c.Seed
	if c.DropTo != "" {
		user, err := wan.ParseUser(c.DropTo)
		if err != nil {
			return err
		}
		cfg.DropTo = &user
	}
	var err error
	if cfg.Regions, err = c.regions(); err != nil {
		return err
	}
	paths := lab.NewPaths(c.Seed)
	cfg.RTT = func(a, b perto.Place) time.Duration { return paths.RTT(lab.End{Place: a}, lab.End{Place: b}) }
	cfg.Ready = func(api net.Addr) {
		fmt.Fprintf(e.out, "The wan carries between %d regions; API at http://%s/v1/wan\n", len(cfg.Regions), api)
	}
	return wan.Serve(e.ctx, cfg)
}

func (c *wanServeCmd) regions() ([]wan.Region, error) {
	place, err := places()
	if err != nil {
		return nil, err
	}
	var regions []wan.Region
	if c.Config != "" {
		file, err := config.Load(c.Config, place)
		if err != nil {
			return nil, err
		}
		for _, p := range file.World.PoPs {
			regions = append(regions, regionOf(&p))
		}
	}
	for _, text := range c.Region {
		r, err := wan.ParseRegion(text, place)
		if err != nil {
			return nil, err
		}
		regions = append(regions, r)
	}
	return regions, nil
}

// Lengths in bits of the networks that the containers of one region share.
const (
	regionBits4 = 24
	regionBits6 = 64
)

// regionOf returns the region of a PoP's edges.
func regionOf(p *config.PoP) wan.Region {
	r := wan.Region{Name: string(p.Name), Place: p.Place}
	for _, e := range p.Edges {
		for _, a := range e.Addresses {
			bits := regionBits4
			if a.Is6() {
				bits = regionBits6
			}
			if network := netip.PrefixFrom(a, bits).Masked(); !slices.Contains(r.Prefixes, network) {
				r.Prefixes = append(r.Prefixes, network)
			}
		}
	}
	return r
}

// env returns an env for the WAN emulator's API.
func (c *labWANCmd) env(e *env) *env {
	asking := *e
	asking.api = string(c.API)
	return &asking
}

// wanHint replaces the hint of a connection error.
func wanHint(err error) error {
	if f, ok := errors.AsType[*perto.Error](err); ok && f.Kind == perto.KindUnavailable && f.Hint != "" {
		f.Hint = `is a WAN emulator running there? start one with "perto lab wan serve", or select another with --wan or PERTO_WAN`
	}
	return err
}

type wanShowCmd struct{}

// Run shows the regions and the conditions between them.
func (c *wanShowCmd) Run(e *env, w *labWANCmd) error {
	var s wan.State
	if err := w.env(e).get("/v1/wan", nil, &s); err != nil {
		return wanHint(err)
	}
	return e.print(s, func(out io.Writer) {
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "REGION\tNETWORKS\tPLACE")
		for _, r := range s.Regions {
			fmt.Fprintf(t, "%s\t%v\t%s\n", r.Name, r.Prefixes, r.Place)
		}
		t.Flush()
		fmt.Fprintln(out)
		writePairs(out, s.Pairs)
		fmt.Fprintf(out, "\n%d packets under way in %d bytes; %d strays (not between two regions)\n", s.UnderWay, s.UnderWayBytes, s.Strays)
	})
}

// writePairs writes a table of directions. Two directions with equal conditions are one
// line with the sum of their counters.
func writePairs(out io.Writer, pairs []wan.Pair) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BETWEEN\t\t\tDELAY\tJITTER\tLOSS\tBANDWIDTH\tSTATE\tPACKETS\tBYTES\tLOST\tOVERFLOW\tCUT")
	done := make(map[int]bool)
	for i, p := range pairs {
		if done[i] {
			continue
		}
		arrow := "->"
		for j := i + 1; j < len(pairs); j++ {
			if q := pairs[j]; q.From == p.To && q.To == p.From && sameConditions(p, q) {
				done[j], arrow = true, "<->"
				p.Packets, p.Bytes, p.Lost = p.Packets+q.Packets, p.Bytes+q.Bytes, p.Lost+q.Lost
				p.Overflow, p.Cut = p.Overflow+q.Overflow, p.Cut+q.Cut
			}
		}
		state := "up"
		if p.IsCut {
			state = "cut"
		}
		jitter := fmt.Sprintf("%.1f ms", p.JitterMs)
		if p.Reorder {
			jitter += ", reorders"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.1f ms\t%s\t%.3g %%\t%s\t%s\t%d\t%d\t%d\t%d\t%d\n", p.From, arrow, p.To, p.DelayMs, jitter, p.Loss*100,
			rate(p.BitsPerSecond), state, p.Packets, p.Bytes, p.Lost, p.Overflow, p.Counters.Cut)
	}
	t.Flush()
}

func sameConditions(p, q wan.Pair) bool {
	q.From, q.To, q.Counters = p.From, p.To, p.Counters
	return p == q
}

// rate formats bits per second in the form of the configuration.
func rate(bitsPerSecond uint64) string {
	switch n := float64(bitsPerSecond); {
	case n == 0:
		return "no limit"
	case n >= 1e9:
		return strconv.FormatFloat(n/1e9, 'g', -1, 64) + "Gbps"
	case n >= 1e6:
		return strconv.FormatFloat(n/1e6, 'g', -1, 64) + "Mbps"
	default:
		return strconv.FormatFloat(n/1e3, 'g', -1, 64) + "kbps"
	}
}

// between selects a region or a pair.
type between struct {
	From   string `arg:"" help:"Region."`
	To     string `arg:"" optional:"" help:"The other region (default: all others)."`
	OneWay bool   `help:"Change only packets from the first region."`
}

func (b *between) values() url.Values {
	v := url.Values{"from": {b.From}}
	if b.To != "" {
		v.Set("to", b.To)
	}
	if b.OneWay {
		v.Set("one_way", "true")
	}
	return v
}

// change sends a change to the WAN emulator and shows the pairs that it changed.
func (c *labWANCmd) change(e *env, v url.Values) error {
	var changed []wan.Pair
	if err := c.env(e).post("/v1/wan", v, &changed); err != nil {
		return wanHint(err)
	}
	return e.print(changed, func(out io.Writer) { writePairs(out, changed) })
}

type wanSetCmd struct {
	between
	Delay     string `help:"Delay in one direction; a round trip takes twice as long." placeholder:"80ms"`
	Jitter    string `help:"Most additional delay of a packet." placeholder:"5ms"`
	Reorder   string `help:"Let jitter change the order of a flow's packets (true, false)." placeholder:"BOOL"`
	Loss      string `help:"Share of packets that are lost." placeholder:"1%"`
	Bandwidth string `help:"Bandwidth of each pair in each direction; none: no limit." placeholder:"10Mbps"`
}

// Run changes conditions. Conditions without a flag stay.
func (c *wanSetCmd) Run(e *env, w *labWANCmd) error {
	v := c.values()
	for name, text := range map[string]string{"delay": c.Delay, "jitter": c.Jitter, "reorder": c.Reorder, "loss": c.Loss, "bandwidth": c.Bandwidth} {
		if text != "" {
			v.Set(name, text)
		}
	}
	change, err := wan.ParseChange(v) // finds mistakes without a running emulator
	if err != nil {
		return err
	}
	if cmp.Or(c.Delay, c.Jitter, c.Reorder, c.Loss, c.Bandwidth) == "" {
		return &perto.Error{Op: "set", Path: change.From, Kind: perto.KindInvalid, Err: errors.New("nothing to set"), Hint: "give --delay, --jitter, --reorder, --loss or --bandwidth"}
	}
	return w.change(e, v)
}

type wanCutCmd struct{ between }

// Run disconnects a region or a pair.
func (c *wanCutCmd) Run(e *env, w *labWANCmd) error {
	v := c.values()
	v.Set("cut", "true")
	return w.change(e, v)
}

type wanHealCmd struct {
	From string `arg:"" optional:"" help:"Region (default: all)."`
	To   string `arg:"" optional:"" help:"The other region (default: all others)."`
}

// Run restores the conditions at the start.
func (c *wanHealCmd) Run(e *env, w *labWANCmd) error {
	v := url.Values{"reset": {"true"}}
	if c.From != "" {
		v.Set("from", c.From)
	}
	if c.To != "" {
		v.Set("to", c.To)
	}
	return w.change(e, v)
}

type wanJoinCmd struct {
	Route   []string `sep:"none" required:"" help:"A network and the WAN emulator's address in this region. Repeat the flag for each network." placeholder:"198.18.0.0/15=198.18.1.254"`
	DropTo  string   `help:"User and group to change to." default:"65532:65532" placeholder:"UID:GID"`
	Command []string `arg:"" passthrough:"" help:"Command to execute, with its arguments."`
}

// Run adds the routes and then executes the command in this process.
func (c *wanJoinCmd) Run(*env) error {
	command := c.Command
	if command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return &perto.Error{Op: "join", Kind: perto.KindInvalid, Err: errors.New("the command is missing after --")}
	}
	user, err := wan.ParseUser(c.DropTo)
	if err != nil {
		return err
	}
	var routes []wan.Route
	for _, text := range c.Route {
		r, err := wan.ParseRoute(text)
		if err != nil {
			return err
		}
		routes = append(routes, r)
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return &perto.Error{Op: "find command", Path: command[0], Kind: perto.KindInvalid, Err: err}
	}
	if err := wan.AddRoutes(routes); err != nil {
		return err
	}
	if err := wan.DropPrivileges(user); err != nil {
		return err
	}
	return wan.Exec(path, command, os.Environ())
}
