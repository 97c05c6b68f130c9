package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"

	"perto/internal/netns"
)

// opsMachines are the machines of docs/ops.md with their addresses, and those around them.
var opsMachines = []struct{ name, address string }{
	{"gru-1", "203.0.113.10"}, {"gru-2", "203.0.113.11"}, {"fra-1", "203.0.113.20"}, {"nrt-1", "203.0.113.30"},
	{"origin", "203.0.113.80"}, {"laptop", "203.0.113.100"},
}

// ground is the machines of docs/ops.md: each has a network namespace on one bridge, a host
// name, and its own /etc, /var, /usr/local and /root above those of this machine.
type ground struct {
	t        *testing.T
	dir      string // working folder of the laptop
	shims    string // commands in place of ssh, scp and systemctl
	machines map[string]*machine
}

type machine struct {
	net *netns.Namespace
	pid int // a process in all its namespaces
}

// opsShims are commands that the machines lack. There is no systemd in a network namespace:
// this systemctl starts the service as the unit does, with its user, environment and
// capability. ssh and scp enter the other machine's namespaces.
var opsShims = map[string]string{
	"enter": `#!/bin/sh
machine=${1#root@}; shift
exec nsenter -t "$(cat "$SHIMS/$machine.init")" -m -u -n -- env HOME=/root sh -c "cd /root; $*"
`,
	"ssh": `#!/bin/sh
exec "$SHIMS/enter" "$@"
`,
	"scp": `#!/bin/sh
flags=-f
while [ $# -gt 1 ]; do
	case $1 in -q) ;; -r) flags=-rf ;; *) files="$files $1" ;; esac
	shift
done
machine=${1%%:*}
exec cp $flags $files "/proc/$(cat "$SHIMS/${machine#root@}.init")/root${1#*:}"
`,
	"systemctl": `#!/bin/sh
me=$SHIMS/$(hostname)
ended() { ! [ -d "/proc/$1" ] || grep -q ') Z' "/proc/$1/stat"; }
stop() { pid=$(cat "$me.pid"); kill "$pid"; until ended "$pid"; do sleep 0.05; done; }
start() {
	lines=$(grep -c 'the node is up' "$me.log" 2>/dev/null || true)
	test "$(stat -c %U /etc/systemd/system/perto.service)" = root || exit 1
	setsid setpriv --reuid perto --regid perto --clear-groups --no-new-privs --bounding-set=-all,+net_bind_service --inh-caps=+net_bind_service --ambient-caps=+net_bind_service \
		env $(cat /etc/perto/environment) /usr/local/bin/perto run >>"$me.log" 2>&1 </dev/null &
	echo $! >"$me.pid"
	until [ "$(grep -c 'the node is up' "$me.log")" -gt "${lines:-0}" ]; do
		ended "$!" && { cat "$me.log"; exit 1; }
		sleep 0.05
	done
}
reload() {
	lines=$(grep -c 'reloaded' "$me.log" || true)
	kill -HUP "$(cat "$me.pid")"
	until [ "$(grep -c 'reloaded' "$me.log")" -gt "$lines" ]; do sleep 0.05; done
	! tail -n 3 "$me.log" | grep 'not reloaded'
}
case $1 in
enable | start) start ;;
reload) reload ;;
restart) stop; start ;;
stop) stop ;;
esac
`,
	"journalctl": `#!/bin/sh
cat "$SHIMS/$(hostname).log"
`,
}

func newGround(t *testing.T) *ground {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make namespaces with users and ports of their own")
	}
	for _, tool := range []string{"unshare", "nsenter", "setpriv", "runuser", "useradd", "dig", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed; ./scripts/test installs it", tool)
		}
	}
	g := &ground{t: t, machines: make(map[string]*machine)}
	perto := command(t)
	g.dir, g.shims = t.TempDir(), filepath.Join(filepath.Dir(perto), "shims")
	if err := os.Mkdir(g.shims, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range opsShims {
		if err := os.WriteFile(filepath.Join(g.shims, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(perto, filepath.Join(g.shims, "perto")), os.CopyFS(filepath.Join(g.dir, "examples/ops"), os.DirFS("../../examples/ops"))); err != nil {
		t.Fatal(err)
	}
	hub := g.namespace()
	g.in(hub, func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "hub"}}); err != nil {
			return err
		}
		return address("hub")
	})
	for i, m := range opsMachines {
		g.machines[m.name] = g.machine(hub, i, m.name, netip.MustParseAddr(m.address))
	}
	return g
}

func (g *ground) namespace() *netns.Namespace {
	g.t.Helper()
	n, err := netns.New()
	if err != nil {
		g.t.Skipf("cannot make network namespaces here: %v", err)
	}
	g.t.Cleanup(func() { n.Close() })
	g.in(n, func() error { return address("lo") })
	return n
}

func (g *ground) in(n *netns.Namespace, f func() error) {
	g.t.Helper()
	if err := n.Do(f); err != nil {
		g.t.Fatal(err)
	}
}

// machine connects a machine to the hub and starts the process that holds its namespaces.
func (g *ground) machine(hub *netns.Namespace, number int, name string, at netip.Addr) *machine {
	g.t.Helper()
	m := &machine{net: g.namespace()}
	outside := "port" + strconv.Itoa(number)
	g.in(hub, func() error {
		bridge, err := netlink.LinkByName("hub")
		if err != nil {
			return err
		}
		return errors.Join(
			netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: outside, MasterIndex: bridge.Attrs().Index}, PeerName: "eth", PeerNamespace: netlink.NsFd(m.net.FD())}),
			address(outside))
	})
	g.in(m.net, func() error { return address("eth", at) })
	state := g.t.TempDir()
	init := exec.Command("unshare", "-m", "-u", "sh", "-c", `set -e
for d in etc var usr/local root; do
	mkdir -p "$0/$d/upper" "$0/$d/work"
	mount -t overlay overlay -o "lowerdir=/$d,upperdir=$0/$d/upper,workdir=$0/$d/work" "/$d"
done
hostname "$1"
echo ready
exec cat`, state, name)
	hold, err := init.StdinPipe() // the process ends with the test
	if err != nil {
		g.t.Fatal(err)
	}
	out := newOutput()
	init.Stdout, init.Stderr = out, out
	g.in(m.net, init.Start)
	g.t.Cleanup(func() {
		hold.Close()
		init.Wait()
	})
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(out.read(), "ready") {
		if init.Process.Signal(syscall.Signal(0)) != nil || time.Now().After(deadline) || strings.Contains(out.read(), "mount") {
			g.t.Skipf("cannot give a machine its own folders here: %s", out.read())
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.pid = init.Process.Pid
	if err := os.WriteFile(filepath.Join(g.shims, name+".init"), []byte(strconv.Itoa(m.pid)), 0o644); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { g.stop(name) })
	return m
}

// stop ends the service of a machine, by its process id.
func (g *ground) stop(name string) {
	text, err := os.ReadFile(filepath.Join(g.shims, name+".pid"))
	if err != nil {
		return // it never ran
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		syscall.Kill(pid, syscall.SIGTERM)
		syscall.Kill(pid, syscall.SIGKILL) // its worker ends with it
	}
}

// sh runs a command line on a machine.
func (g *ground) sh(machine, line string) (string, error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), 3*time.Minute)
	defer cancel()
	dir := "/root"
	if machine == "laptop" {
		dir = g.dir
	}
	cmd := exec.CommandContext(ctx, "nsenter", "-t", strconv.Itoa(g.machines[machine].pid), "-m", "-u", "-n", "--", "sh", "-c", "cd "+dir+"\n"+line)
	cmd.Env = append(os.Environ(), "SHIMS="+g.shims, "PATH="+g.shims+":"+os.Getenv("PATH"), "HOME=/root")
	if machine != "laptop" { // the installed program
		cmd.Env = append(cmd.Env, "PATH="+g.shims+":/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin")
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// read returns the output so far.
func (o *output) read() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// step is a command of the guide with the output that it must have.
type step struct {
	machines []string
	line     string
	want     []string
}

// opsSteps reads the commands of docs/ops.md.
func opsSteps(t *testing.T) (steps []step) {
	t.Helper()
	page, err := os.ReadFile("../../docs/ops.md")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`(?m)^([a-z0-9, -]+):\n\n$`)
	parts := strings.Split(string(page), "```")
	for i := 1; i < len(parts); i += 2 {
		kind, body, _ := strings.Cut(parts[i], "\n")
		m := heading.FindAllStringSubmatch(parts[i-1], -1)
		if kind != "console" || len(m) == 0 {
			t.Fatalf("a block without the name of its machine: %.100q", body)
		}
		machines := strings.Split(m[len(m)-1][1], ", ")
		for line := range strings.Lines(body) {
			line = strings.TrimSuffix(line, "\n")
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, step{machines: machines, line: command})
			} else if len(steps) > 0 && line != "..." {
				last := &steps[len(steps)-1]
				last.want = append(last.want, line)
			}
		}
	}
	if len(steps) < 40 {
		t.Fatalf("found only %d commands", len(steps))
	}
	return steps
}

// lacks returns the first wanted line that an output does not have. "..." stands for any
// text, and spaces for any spaces.
func (s *step) lacks(out string) string {
	for _, want := range s.want {
		form := regexp.QuoteMeta(strings.Join(strings.Fields(want), " "))
		form = strings.ReplaceAll(strings.ReplaceAll(form, `\.\.\.`, `.*`), " ", `\s+`)
		if !regexp.MustCompile(form).MatchString(out) {
			return want
		}
	}
	return ""
}

// asks reports whether a command may be repeated until it has its output.
func (s *step) asks() bool {
	return regexp.MustCompile(`^(perto (--\S+ \S+ )*(health|status)|dig|curl|journalctl) `).MatchString(s.line)
}

// TestOpsGuide runs the commands of docs/ops.md on machines in namespaces, while clients with
// caching resolvers send requests. None of these may fail.
func TestOpsGuide(t *testing.T) {
	steps := opsSteps(t)
	g := newGround(t)
	g.serveOrigin()
	var load *opsLoad
	for _, s := range steps {
		for _, m := range s.machines {
			if !g.do(m, &s) {
				return
			}
		}
		if load == nil && strings.HasPrefix(s.line, "perto status") {
			load = g.startLoad()
		}
	}
	requests, failed := load.end()
	t.Logf("%d commands; %d requests during reloads, a restart, key rotation and a new machine", len(steps), requests)
	for _, err := range failed {
		t.Errorf("a request failed: %v", err)
	}
	if requests < 100 {
		t.Errorf("only %d requests", requests)
	}
}

// do runs a step on a machine.
func (g *ground) do(machine string, s *step) bool {
	g.t.Helper()
	if g.machines[machine] == nil {
		g.t.Fatalf("no machine %q", machine)
	}
	began := time.Now()
	for deadline := began.Add(time.Minute); ; {
		out, err := g.sh(machine, s.line)
		lacking := s.lacks(out)
		if err == nil && lacking == "" {
			g.t.Logf("%s$ %s (%v)", machine, s.line, time.Since(began).Round(10*time.Millisecond))
			return true
		}
		if !s.asks() || time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(g.shims, machine+".log"))
			g.t.Errorf("%s$ %s\n%s%v\nlacks %q; its log:\n%s", machine, s.line, out, err, lacking, log)
			return false
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (g *ground) serveOrigin() {
	var l net.Listener
	g.in(g.machines["origin"].net, func() (err error) {
		l, err = net.Listen("tcp", ":80")
		return err
	})
	origin := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "s-maxage=1")
		io.WriteString(w, "content\n")
	})}
	go origin.Serve(l)
	g.t.Cleanup(func() { origin.Close() })
}

// opsLoad is clients on the laptop that send requests until its end.
type opsLoad struct {
	cancel   context.CancelFunc
	running  sync.WaitGroup
	mu       sync.Mutex
	requests int
	failed   []error
}

func (g *ground) startLoad() *opsLoad {
	ctx, cancel := context.WithCancel(g.t.Context())
	l := &opsLoad{cancel: cancel}
	for i := range 4 {
		c := &opsClient{ground: g, servers: []string{"203.0.113.10:53", "203.0.113.20:53"}}
		if i%2 == 1 {
			c.servers[0], c.servers[1] = c.servers[1], c.servers[0]
		}
		l.running.Go(func() {
			for ctx.Err() == nil {
				err := c.ask()
				l.mu.Lock()
				l.requests++
				if err != nil && len(l.failed) < 10 {
					l.failed = append(l.failed, fmt.Errorf("%v: %w", time.Now().UTC().Format(time.TimeOnly), err))
				}
				l.mu.Unlock()
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	return l
}

func (l *opsLoad) end() (requests int, failed []error) {
	l.cancel()
	l.running.Wait()
	return l.requests, l.failed
}

// opsClient is a client with a caching resolver.
type opsClient struct {
	ground  *ground
	servers []string
	address string
	until   time.Time
}

// dial opens a connection from the laptop.
func (c *opsClient) dial(network, address string) (conn net.Conn, err error) {
	err = c.ground.machines["laptop"].net.Do(func() error {
		conn, err = net.DialTimeout(network, address, 2*time.Second)
		return err
	})
	return conn, err
}

func (c *opsClient) ask() error {
	if !time.Now().Before(c.until) {
		if err := c.resolve(); err != nil {
			return fmt.Errorf("resolve: %w", err)
		}
	}
	conn, err := c.dial("tcp", net.JoinHostPort(c.address, "80"))
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: www.cdn.example\r\nConnection: close\r\n\r\n")
	reply, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(reply), "HTTP/1.1 200") || !strings.Contains(string(reply), "content\n") {
		return fmt.Errorf("%s replied %q, %w", c.address, reply, err)
	}
	return nil
}

// resolve asks one name server after the other, as resolvers do.
func (c *opsClient) resolve() error {
	var errs []error
	for range 2 {
		for _, server := range c.servers {
			conn, err := c.dial("udp", server)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			conn.SetDeadline(time.Now().Add(time.Second))
			x := &dns.Conn{Conn: conn}
			x.WriteMsg(new(dns.Msg).SetQuestion("www.cdn.example.", dns.TypeA))
			reply, err := x.ReadMsg()
			conn.Close()
			if err != nil {
				errs = append(errs, err)
				continue
			}
			for _, rr := range reply.Answer {
				if a, ok := rr.(*dns.A); ok {
					c.address, c.until = a.A.String(), time.Now().Add(time.Duration(a.Hdr.Ttl)*time.Second)
					return nil
				}
			}
			errs = append(errs, errors.New("an answer without an address"))
		}
	}
	return errors.Join(errs...)
}

// TestOpsGuideNamesRealTexts: every text of the log and of the status in the tables is in the
// code, and every alert has its row.
func TestOpsGuideNamesRealTexts(t *testing.T) {
	page, err := os.ReadFile("../../docs/ops.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, ok := strings.Cut(string(page), "| text in log or status |")
	if !ok {
		t.Fatal("the table of texts is missing")
	}
	texts, alerts, _ := strings.Cut(tables, "| alert |")
	var code strings.Builder
	for _, pattern := range []string{"*.go", "../../node/*.go", "../../edge/*.go", "../../replicas/*.go", "../../dnsserver/*.go", "../../internal/api/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(text)
		}
	}
	rows := regexp.MustCompile(`(?m)^\| ([^|-][^|]*?) \|`).FindAllStringSubmatch(texts, -1)
	if len(rows) < 20 {
		t.Errorf("found only %d texts", len(rows))
	}
	for _, row := range rows {
		for part := range strings.SplitSeq(row[1], ": ") { // a state and its reason are two texts
			if !strings.Contains(code.String(), strings.TrimSuffix(part, ":")) {
				t.Errorf("no code has the text %q", part)
			}
		}
	}
	rules, err := os.ReadFile("../../examples/ops/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		if !strings.Contains(alerts, "| "+m[1]+" |") {
			t.Errorf("the alert %s has no row", m[1])
		}
	}
}
