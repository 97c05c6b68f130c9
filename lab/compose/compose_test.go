package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"perto"
	"perto/config"
	"perto/geodata"
	"perto/internal/api"
	"perto/internal/test/expect"
	"perto/lab/access"
	"perto/lab/wan"
)

// crowded is the tolerance of times, because all hosts of this world share one machine.
const crowded = 1500 * time.Millisecond

// pageAPI is the address of the page, which has the API of all vantages.
const pageAPI = "127.0.0.1:8080"

// TestCompose checks the containers against the list of expectations for all ways to
// run a world.
func TestCompose(t *testing.T) {
	project := os.Getenv("PERTO_COMPOSE")
	if project == "" {
		t.Skip("PERTO_COMPOSE names no running project: scripts/compose-test brings the containers up and runs this")
	}
	list, err := expect.Load("../testdata/expectations.hcl")
	if err != nil {
		t.Fatal(err)
	}
	expect.Run(t, list, newContainers(t, project), expect.Options{Slack: crowded})
}

// TestReadme runs the README's commands for containers, except the one that starts
// them.
func TestReadme(t *testing.T) {
	project := os.Getenv("PERTO_COMPOSE")
	if project == "" {
		t.Skip("PERTO_COMPOSE names no running project: scripts/compose-test brings the containers up and runs this")
	}
	newContainers(t, project)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(readme), "```console\n")
	block, _, _ = strings.Cut(block, "```")
	compose := os.Getenv("COMPOSE")
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(block) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" || line == "make compose" {
			continue
		}
		n++
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(line, "docker compose", compose, 1))
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "PATH="+root+"/build:"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		t.Logf("%s\n%s", line, out)
	}
	if n < 8 {
		t.Errorf("found only %d commands", n)
	}
}

// TestConsoleOfContainers: the web console shows how each vantage is served, and counts
// the requests of the edges.
func TestConsoleOfContainers(t *testing.T) {
	if os.Getenv("PERTO_COMPOSE") == "" {
		t.Skip("PERTO_COMPOSE names no running project: scripts/compose-test brings the containers up and runs this")
	}
	get := func(path string) string {
		r, err := http.Get("http://" + pageAPI + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := get("/visit?url=/&again=1"); strings.Count(got, "200, ") < 2*len(vantages) {
		t.Errorf("the visits: %s", got)
	}
	for path, want := range map[string]string{"/": "served by sa-east, 0 km away", "/pop/sa-east": "sa-east-2", "/vantage/" + vantages[0].name: "Nearest PoP"} {
		if got := get(path); !strings.Contains(got, want) || strings.Contains(got, "kill") {
			t.Errorf("%s: no %q in %s", path, want, got)
		}
	}
	if got := get("/"); !regexp.MustCompile(`<td>[1-9][0-9]*</td><td>[0-9]+ %</td>`).MatchString(got) {
		t.Errorf("no edge counts a request: %s", got)
	}
}

// TestContainersAreConfined checks that all are healthy and that no process is root.
func TestContainersAreConfined(t *testing.T) {
	project := os.Getenv("PERTO_COMPOSE")
	if project == "" {
		t.Skip("PERTO_COMPOSE names no running project: scripts/compose-test brings the containers up and runs this")
	}
	c := newContainers(t, project)
	out, err := c.docker(t.Context(), "ps", "--quiet", "--filter", "label=com.docker.compose.project="+project)
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.Fields(string(out))
	if len(ids) < 20 {
		t.Errorf("only %d containers run", len(ids))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, id := range ids {
		out, err := c.docker(ctx, "top", id, "-eo", "pid,uid,args")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		for _, line := range lines[1:] {
			// The engine runs the health check as the first user of the container.
			if f := strings.Fields(line); f[1] != "65532" && !strings.HasSuffix(line, "/perto health") && !strings.HasSuffix(line, "wan show") {
				t.Errorf("container %s has a process of user %s: %s", id, f[1], line)
			}
		}
		for {
			out, err := c.docker(ctx, "inspect", "--format", "{{.Name}} {{.State.Health.Status}}", id)
			if err != nil {
				t.Fatal(err)
			}
			name, health, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
			if health == "healthy" {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("%s is %s", name, health)
			}
		}
	}
}

// containers is the world of docker-compose.yml.
type containers struct {
	project string
	world   *expect.World
	doors   map[string]netip.AddrPort                 // published ports of resolvers, by vantage, and of name servers
	asked   map[string]map[string]time.Duration       // configured round trips of the wan, by regions
	region  func(a netip.Addr) string                 // of an address
	address map[string]struct{ network, addr string } // of edges
}

// vantages are the clients of docker-compose.yml, with the region of each and its place
// for DNS.
var vantages = []struct {
	name, region, seen, resolver string
}{
	{"sa-east", "sa-east", "sa-east", "127.0.0.1:5321"},
	{"us-east", "us-east", "us-east", "127.0.0.1:5322"},
	{"eu-central", "eu-central", "eu-central", "127.0.0.1:5323"},
	{"ap-northeast", "ap-northeast", "ap-northeast", "127.0.0.1:5324"},
	{"tokyo-public", "ap-northeast", "us-east", "127.0.0.1:5325"},
}

func newContainers(t *testing.T, project string) *containers {
	t.Helper()
	cities, err := geodata.LoadCities()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load("../../examples/compose/world.hcl", cities.FindCity)
	if err != nil {
		t.Fatal(err)
	}
	c := &containers{project: project, doors: map[string]netip.AddrPort{
		"ns1": netip.MustParseAddrPort("127.0.0.1:5300"), "ns2": netip.MustParseAddrPort("127.0.0.1:5301")}}
	w := &expect.World{Origin: "origin", Families: []int{4}, KillsAreSilent: true,
		Servers: []expect.Server{{Name: "ns1", PoP: "us-east"}, {Name: "ns2", PoP: "eu-central"}}}
	places := make(map[string]perto.Place)
	subnets := make(map[string]netip.Prefix)
	c.address = make(map[string]struct{ network, addr string })
	for _, p := range cfg.World.PoPs {
		name := string(p.Name)
		places[name] = p.Place
		subnets[name], _ = p.Edges[0].Addresses[0].Prefix(24)
		pop := expect.PoP{Name: name, Place: p.Place}
		for _, e := range p.Edges {
			pop.Edges = append(pop.Edges, expect.Edge{Name: string(e.Name), Addresses: e.Addresses})
			c.address[string(e.Name)] = struct{ network, addr string }{name, e.Addresses[0].String()}
		}
		w.PoPs = append(w.PoPs, pop)
	}
	c.region = func(a netip.Addr) string {
		for name, s := range subnets {
			if s.Contains(a) {
				return name
			}
		}
		return ""
	}
	for _, v := range vantages {
		w.Vantages = append(w.Vantages, expect.Vantage{Name: v.name, Place: places[v.region], Seen: places[v.seen], Near: v.region == v.seen, Subnet: subnets[v.region]})
		c.doors[v.name] = netip.MustParseAddrPort(v.resolver)
	}
	c.world = w
	c.ready(t)
	c.readDelays(t)
	return c
}

// docker runs a command of the engine.
func (c *containers) docker(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// container returns the name of a service's container: Compose 1 writes
// underscores where 2 writes hyphens.
func (c *containers) container(ctx context.Context, service string) (string, error) {
	out, err := c.docker(ctx, "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project="+c.project, "--filter", "label=com.docker.compose.service="+service)
	id := strings.TrimSpace(string(out))
	if err == nil && (id == "" || strings.Contains(id, "\n")) {
		err = fmt.Errorf("service %s has the containers %q", service, id)
	}
	return id, err
}

// ready waits until every vantage has fetched the site.
func (c *containers) ready(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, v := range c.world.Vantages {
		for {
			f, err := c.Fetch(ctx, v.Name, "http://www.shop.example/healthz")
			if err == nil && f.Status == 200 {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("%s is not ready: %v, %v", v.Name, f, err)
			}
		}
	}
}

// readDelays reads the configured delays from the wan.
func (c *containers) readDelays(t *testing.T) {
	t.Helper()
	id, err := c.container(t.Context(), "wan")
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.docker(t.Context(), "exec", id, "/perto", "lab", "wan", "show", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var state wan.State
	if err := json.Unmarshal(out, &state); err != nil || len(state.Pairs) == 0 {
		t.Fatalf("the wan shows %v: %s", err, out)
	}
	c.asked = make(map[string]map[string]time.Duration)
	for _, p := range state.Pairs {
		for _, way := range [][2]string{{p.From, p.To}, {p.To, p.From}} {
			if c.asked[way[0]] == nil {
				c.asked[way[0]] = make(map[string]time.Duration)
			}
			c.asked[way[0]][way[1]] += time.Duration(p.DelayMs * float64(time.Millisecond)) // there and back
		}
	}
}

func (c *containers) World() *expect.World { return c.world }

func (c *containers) Ask(ctx context.Context, q expect.Question) ([]netip.Addr, error) {
	if q.Server != "" {
		return expect.AskServer(ctx, c.doors[q.Server], q)
	}
	return expect.AskServer(ctx, c.doors[q.Vantage], q) // the vantage's resolver, without a subnet
}

func (c *containers) Fetch(ctx context.Context, vantage, target string) (*expect.Reply, error) {
	var f struct {
		access.Fetched
		Body []byte `json:"body"`
	}
	if err := api.Call(ctx, "GET", pageAPI, "/api/lab/fetch", url.Values{"from": {vantage}, "url": {target}, "body": {"1"}}, &f, ""); err != nil {
		return nil, err
	}
	r := &expect.Reply{Address: f.Address, Status: f.Status, Header: f.Header, Body: f.Body, Connect: f.Connect.Duration(), FirstByte: f.FirstByte.Duration()}
	for _, v := range vantages {
		if v.name == vantage {
			r.Asked = c.asked[v.region][c.region(f.Address)]
		}
	}
	return r, nil
}

// Do applies and ends faults with the container engine. It cuts a PoP by disconnecting
// its network from the wan.
func (c *containers) Do(ctx context.Context, target string, f expect.Fault) error {
	for _, p := range c.world.PoPs {
		if p.Name == target {
			return c.doRegion(ctx, target, f)
		}
	}
	id, err := c.container(ctx, target)
	if err != nil {
		return err
	}
	at := c.address[target]
	switch f {
	case expect.Kill:
		_, err = c.docker(ctx, "kill", id)
	case expect.Freeze:
		_, err = c.docker(ctx, "pause", id)
	case expect.Cut:
		_, err = c.docker(ctx, "network", "disconnect", "--force", c.network(at.network), id)
	case expect.Heal:
		err = c.heal(ctx, id, at.network, at.addr)
	}
	return err
}

func (c *containers) network(region string) string { return c.project + "_" + region }

// heal ends all faults of a container. A disconnected container lost its route with its
// network, so it is started again.
func (c *containers) heal(ctx context.Context, id, network, addr string) error {
	out, err := c.docker(ctx, "inspect", "--format", "{{.State.Status}} {{len .NetworkSettings.Networks}}", id)
	if err != nil {
		return err
	}
	state, networks, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	switch {
	case state == "paused":
		_, err = c.docker(ctx, "unpause", id)
	case networks == "0":
		if _, err = c.docker(ctx, "network", "connect", "--ip", addr, c.network(network), id); err == nil {
			_, err = c.docker(ctx, "restart", "--time", "1", id)
		}
	case state != "running":
		_, err = c.docker(ctx, "start", id)
	}
	return err
}

func (c *containers) doRegion(ctx context.Context, region string, f expect.Fault) error {
	router, err := c.container(ctx, "wan")
	if err != nil {
		return err
	}
	switch f {
	case expect.Cut:
		_, err = c.docker(ctx, "network", "disconnect", "--force", c.network(region), router)
	case expect.Heal:
		for _, p := range c.world.PoPs {
			if p.Name == region {
				gateway := p.Edges[0].Addresses[0].As4()
				gateway[3] = 254
				_, err = c.docker(ctx, "network", "connect", "--ip", netip.AddrFrom4(gateway).String(), c.network(region), router)
			}
		}
	default:
		err = fmt.Errorf("%s of a region is not a thing", f)
	}
	return err
}
