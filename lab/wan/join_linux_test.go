package wan

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"perto"
	"perto/internal/netns"
)

// childEnv makes the test binary the child process of TestDropPrivileges.
const childEnv = "PERTO_WAN_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := dropAndShow(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// dropAndShow drops privileges while several threads run, and prints the identity of
// each.
func dropAndShow() error {
	const threads = 8
	stop := make(chan struct{})
	var running, ended sync.WaitGroup
	for range threads {
		running.Add(1)
		ended.Go(func() {
			var fds [2]int
			if err := unix.Pipe(fds[:]); err != nil {
				panic(err)
			}
			go func() {
				<-stop
				unix.Close(fds[1])
			}()
			running.Done()
			unix.Read(fds[0], make([]byte, 1)) // holds a thread
		})
	}
	running.Wait()
	if err := DropPrivileges(User{65532, 65532}); err != nil {
		return err
	}
	if err := DropPrivileges(User{65532, 65532}); err != nil {
		return fmt.Errorf("a second time: %w", err)
	}
	if err := DropPrivileges(User{65533, 65533}); err == nil {
		return errors.New("it became another user after it had dropped its privileges")
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if err != nil {
			return err
		}
		fmt.Printf("%s", b)
	}
	close(stop)
	ended.Wait()
	return nil
}

func TestDropPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to have privileges to drop")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	threads := strings.Count(string(out), "Name:")
	if threads < 5 {
		t.Fatalf("only %d threads were there to look at", threads)
	}
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532", "Gid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"} {
		if n := strings.Count(string(out), want); n != threads {
			t.Errorf("%d of %d threads have %q", n, threads, want)
		}
	}
	if strings.Contains(string(out), "Groups:\t0") {
		t.Error("a group of root's stays")
	}
}

func TestCheckDroppedFindsPrivileges(t *testing.T) {
	err := checkDropped(User{os.Getuid() + 1, os.Getgid()})
	if err == nil || !strings.Contains(err.Error(), `Uid is "`) {
		t.Errorf("got %v", err)
	}
}

func TestOpenDeviceNamesMissingCondition(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	n, err := netns.New()
	if err != nil {
		t.Skipf("cannot make network namespaces here: %v", err)
	}
	defer n.Close()
	forward := func(path string) error { return os.WriteFile("/proc/sys/net/"+path, []byte("1"), 0) }
	steps := []struct {
		name string
		do   func() error
		want string
	}{
		{"forwarding of IPv4", func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0) }, "sysctls: [net.ipv4.ip_forward=1]"},
		{"forwarding of IPv6", func() error { return forward("ipv4/ip_forward") }, "sysctls: [net.ipv6.conf.all.forwarding=1]"},
		{"interfaces", func() error { return forward("ipv6/conf/all/forwarding") }, "gru: none has an address in 198.18.1.0/24"},
	}
	for _, step := range steps {
		err := n.Do(func() error {
			if err := step.do(); err != nil {
				t.Error(err)
			}
			d, err := OpenDevice("tun0", []Region{gru, fra})
			if err == nil {
				d.Close()
			}
			return err
		})
		e, ok := errors.AsType[*perto.Error](err)
		if !ok || e.Kind != perto.KindUnavailable || !strings.Contains(err.Error(), step.want) {
			t.Errorf("without %s: got %v, want %q", step.name, err, step.want)
		}
	}
	err = n.Do(func() error { return AddRoutes([]Route{must(ParseRoute("198.18.0.0/15=198.18.1.254"))}) })
	if err == nil || !strings.Contains(err.Error(), "must be in a network that this container is attached to") {
		t.Errorf("a route to nowhere: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
