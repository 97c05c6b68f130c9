package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"perto"
	"perto/config"
	"perto/internal/api"
	"perto/lab"
	"perto/node"
)

type labCmd struct {
	Up       labUpCmd       `cmd:"" default:"withargs" help:"Start a lab (the default command)."`
	Vantages labVantagesCmd `cmd:"" help:"List the vantages: clients in cities, with their resolvers."`
	Fetch    labFetchCmd    `cmd:"" help:"Fetch a page from a city and show the time of each step."`
	Compare  labCompareCmd  `cmd:"" help:"Fetch a page from every city."`
	Trace    labTraceCmd    `cmd:"" help:"Show the numbered steps of a request."`
	Browse   labBrowseCmd   `cmd:"" help:"Open a browser as a client in a city."`
	Run      labRunCmd      `cmd:"" help:"Run an experiment and report: moved-code or end-user-mapping."`
	Kill     labKillCmd     `cmd:"" help:"Kill an edge's process."`
	Freeze   labFreezeCmd   `cmd:"" help:"Freeze a host, as SIGSTOP does."`
	Cut      labCutCmd      `cmd:"" help:"Disconnect a host from the network without a message."`
	Heal     labHealCmd     `cmd:"" help:"Revert kill, freeze and cut of a host."`
	Resolver labResolverCmd `cmd:"" help:"Run a caching resolver, for a world made of containers."`
	Client   labClientCmd   `cmd:"" help:"Run a client with a SOCKS door, for a world made of containers."`
	Page     labPageCmd     `cmd:"" help:"Serve the page of a world made of containers."`
	WAN      labWANCmd      `cmd:"" name:"wan" help:"WAN emulator between containers: carry packets, show and change conditions between regions."`
}

type labUpCmd struct {
	Scenario    string `arg:"" optional:"" default:"world" enum:"world" help:"Name of the scenario (world)."`
	Config      string `short:"c" help:"Configuration with your own PoPs and services, instead of the demo's." placeholder:"FILE"`
	Origin      string `help:"Your own site as the origin, instead of the shop and its functions." placeholder:"URL"`
	OriginHost  string `help:"Host field for your own site (default: the host and port of its URL)." placeholder:"HOST"`
	OriginPlace string `help:"City of the origin (default: Ashburn)." placeholder:"CITY"`
	DoorPlace   string `help:"City of the clients behind the doors to the authoritative servers (default: São Paulo)." placeholder:"CITY"`
	Seed        uint64 `help:"Seed of the paths' delays." default:"1"`
	DNSPort     int    `name:"dns-port" help:"First port of the doors to the authoritative servers." default:"5300"`
	Resolvers   int    `name:"resolver-port" help:"First port of the doors to the resolvers." default:"5320"`
	SOCKS       int    `name:"socks-port" help:"First port of the SOCKS 5 doors." default:"1080"`
	Web         int    `name:"web-port" help:"First port of the web doors: the site as each vantage sees it." default:"8100"`
	Tags        bool   `help:"Tag the IPv6 addresses of edges, so that the name servers learn where the clients of resolvers are."`
	Cache       string `help:"Cache of each edge, for example 64MiB (default: 256MiB)." placeholder:"SIZE"`
	Verbose     bool   `short:"v" help:"Write the nodes' log to stderr."`
}

// Validate checks the ports before anything starts.
func (c *labUpCmd) Validate() error {
	return checkFirstPorts(map[string]int{"--dns-port": c.DNSPort, "--resolver-port": c.Resolvers, "--socks-port": c.SOCKS, "--web-port": c.Web})
}

// Run starts the lab and keeps it running until it is interrupted.
func (c *labUpCmd) Run(e *env) error {
	if strings.HasPrefix(e.api, api.UnixPrefix) {
		return &perto.Error{Op: "serve API on", Path: e.api, Kind: perto.KindInvalid, Err: errors.New("a lab serves its API on IP:port")}
	}
	p := startProgress(e, c.Verbose)
	defer p.end()
	logging := *e
	logging.err = p
	p.begin("the map of the world")
	place, err := places()
	if err != nil {
		return err
	}
	cfg := lab.Config{Place: place, Seed: c.Seed, Tags: c.Tags, Crowd: c.Tags, Origin: c.Origin, OriginHost: c.OriginHost, Ports: lab.Ports{DNS: c.DNSPort, Resolvers: c.Resolvers, SOCKS: c.SOCKS, Web: c.Web},
		Logger: logger(&logging, c.Verbose), Progress: p.begin}
	if c.Cache != "" {
		if cfg.CacheBytes, err = config.ParseSize(c.Cache); err != nil || cfg.CacheBytes == 0 {
			return &perto.Error{Op: "read --cache", Path: c.Cache, Kind: perto.KindInvalid, Err: err, Hint: "for example --cache 64MiB"}
		}
	}
	database := "" // the embedded world map
	if c.Config != "" {
		if cfg.World, err = config.Load(c.Config, place); err != nil {
			return err
		}
		database = cfg.World.World.Geodata.Database
	}
	if cfg.Geo, err = node.OpenMap(database); err != nil {
		return err
	}
	if c.DoorPlace != "" {
		if cfg.DoorPlace, err = place(c.DoorPlace); err != nil {
			return err
		}
	}
	if c.OriginPlace != "" {
		if cfg.OriginPlace, err = place(c.OriginPlace); err != nil {
			return err
		}
	}
	l, err := lab.Up(e.ctx, cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	stop, address, err := serveAPI(l, e.api)
	if err != nil {
		return err
	}
	defer stop()
	up := time.Since(p.start)
	p.begin("the first answer")
	first := firstAnswer(e, l, p)
	p.end()
	welcome(e.out, l, address, up, first)
	<-e.ctx.Done()
	return nil
}

// firstAnswer returns a line about the lab's first answer to a client.
func firstAnswer(e *env, l *lab.Lab, p *progress) string {
	a, err := l.FirstAnswer(e.ctx)
	after := time.Since(p.start).Seconds()
	switch {
	case err != nil:
		return fmt.Sprintf("No first answer after %.1f s: %v.", after, err)
	case !a.Nearest:
		return fmt.Sprintf("First answer after %.1f s: %s for %s, which is not the nearest.", after, a.Edge, a.Vantage)
	}
	return fmt.Sprintf("First answer from the nearest edge after %.1f s: %s for %s.", after, a.Edge, a.Vantage)
}

// serveAPI serves the lab's API on the first free port from the requested one on.
func serveAPI(l *lab.Lab, address string) (stop func(), at string, err error) {
	host, portText, err := net.SplitHostPort(address)
	port, perr := strconv.Atoi(portText)
	if err != nil || perr != nil {
		return nil, "", &perto.Error{Op: "serve API on", Path: address, Kind: perto.KindInvalid, Err: errors.New(`use the form "IP:port"`)}
	}
	const tries = 100
	var listener net.Listener
	for try := range tries {
		if listener, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
			break
		}
		if !errors.Is(err, syscall.EADDRINUSE) || try == tries-1 {
			return nil, "", &perto.Error{Op: "serve API on", Path: address, Kind: perto.KindUnavailable, Err: err}
		}
		port++
	}
	handler, err := l.API()
	if err != nil {
		listener.Close()
		return nil, "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
		<-done
	}, listener.Addr().String(), nil
}

// welcome prints the parts of the lab and commands to try.
func welcome(w io.Writer, l *lab.Lab, address string, took time.Duration, first string) {
	world := &l.World.World
	edges := 0
	for _, p := range world.PoPs {
		edges += len(p.Edges)
	}
	fmt.Fprintf(w, "The lab is up, after %.1f s.\n%s\n\n", took.Seconds(), first)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  PoPs\t%d, with %d edges\n", len(world.PoPs), edges)
	fmt.Fprintf(t, "  vantages\t%d clients, each with its resolver\n", len(l.Vantages()))
	for _, d := range l.Doors() {
		if d.Kind == "authoritative" {
			fmt.Fprintf(t, "  door\t%s to %s, authoritative\n", d.Addr, d.To)
		}
	}
	var office, officeCity string
	first, last := "", ""
	for _, d := range l.Doors() {
		if d.Kind != "resolver" {
			continue
		}
		if first == "" {
			first = d.Addr.String()
		}
		last = strconv.Itoa(int(d.Addr.Port()))
		if d.To == "jakarta-office" {
			office, officeCity = strconv.Itoa(int(d.Addr.Port())), d.To
		}
	}
	fmt.Fprintf(t, "  doors\t%s to %s, the vantages' resolvers in order\n", first, last)
	byName, _ := l.SOCKSDoor("")
	fmt.Fprintf(t, "  SOCKS\t%s, the user name picks the vantage; one port more for each of them\n", byName)
	fmt.Fprintf(t, "  page, API\thttp://%s\n", address)
	if vs := l.Vantages(); len(vs) > 0 {
		if at, err := l.WebDoor(vs[0].Name); err == nil {
			fmt.Fprintf(t, "  web\thttp://%s, the site as %s sees it; one port more for each vantage\n", at, vs[0].Name)
		}
	}
	t.Flush()
	authoritative := "5300"
	if ds := l.Doors(); len(ds) > 0 {
		authoritative = strconv.Itoa(int(ds[0].Addr.Port()))
	}
	command := program()
	if address != config.DefaultAPI {
		command += " --api " + address
	}
	service, site, edge := l.Named()
	fmt.Fprintf(w, `
Try, in another terminal:

  dig @127.0.0.1 -p %[1]s %[6]s +subnet=200.144.248.0/24
  dig @127.0.0.1 -p %[2]s %[7]s      # %[3]s: its resolver is in London
  curl --proxy socks5h://sao-paulo@%[5]s -i http://%[7]s/
  %[4]s lab trace --from jakarta-office http://%[7]s/
  %[4]s explain %[6]s --client 200.144.248.0/24
  %[4]s lab kill %[8]s      # then explain again: other edges answer
  %[4]s lab heal %[8]s

Ctrl-C stops it.
`, authoritative, office, officeCity, command, byName, service, site, edge)
}

type labVantagesCmd struct{}

// Run lists the vantages of the running lab.
func (c *labVantagesCmd) Run(e *env) error {
	var list []lab.VantageInfo
	if err := e.get("/api/lab/vantages", nil, &list); err != nil {
		return err
	}
	return e.print(list, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "VANTAGE\tPLACE\tRESOLVER\tIN\tDOOR\tLAST MILE\tWEB")
		for _, v := range list {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.Name, v.Place, v.Resolver, v.At, v.Door, ms(v.LastMile), v.Web)
		}
		t.Flush()
	})
}
