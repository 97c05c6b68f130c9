//go:build unix

package netx

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain runs the test binary as the child that takes sockets over.
func TestMain(m *testing.M) {
	if os.Getenv("NETX_TEST_CHILD") != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// child answers one connection and one packet on inherited sockets.
func child() int {
	n, err := Inherit()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx := context.Background()
	l, err := n.Listen(ctx, "tcp", os.Args[1])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	p, err := n.ListenPacket(ctx, "udp", os.Args[1])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c, err := l.Accept()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	io.WriteString(c, "child")
	c.Close()
	r, err := NewResponder(p)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	b := make([]byte, 100)
	k, _, err := r.Read(b)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	r.Reply(append(b[:k], " back"...))
	return 0
}

// TestInherit: connections and packets that arrive while no child serves wait in the
// parent's sockets. The next child receives them, and so does the one after it.
func TestInherit(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	var s Sockets
	t.Cleanup(s.Close)
	list := []Address{{"tcp", address}, {"udp", address}}
	if err := s.Open(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context(), append(list, Address{"tcp", "192.0.2.1:1"})); err == nil {
		t.Error("a foreign address was opened")
	}
	if got := s.List(); len(got) != len(list) {
		t.Errorf("open sockets: got %v, want %v", got, list)
	}
	for range 2 {
		tcp, err := net.Dial("tcp", address) // before a child exists
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.Dial("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(udp, "there and")
		files, variable := s.Pass()
		for _, f := range files {
			// Starting a process calls Fd; the mode is that of the socket, not of the file.
			if mode, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || mode&unix.O_NONBLOCK == 0 {
				t.Errorf("%s: got mode %#x, %v; want it non-blocking", f.Name(), mode, err)
			}
		}
		cmd := exec.Command(os.Args[0], address)
		cmd.ExtraFiles, cmd.Env = files, append(os.Environ(), variable, "NETX_TEST_CHILD=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, _ := io.ReadAll(tcp); string(got) != "child" {
			t.Errorf("over TCP: got %q", got)
		}
		b := make([]byte, 100)
		if n, err := udp.Read(b); err != nil || string(b[:n]) != "there and back" {
			t.Errorf("over UDP: got %q, %v", b[:n], err)
		}
		tcp.Close()
		udp.Close()
	}
	s.Keep(list[1:])
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("a socket that left the list is still open")
	}
}

// TestInheritedSocketRepliesFromAskedAddress queries a second address of the host
// before a child exists. A connected socket receives replies of that address only.
func TestInheritedSocketRepliesFromAskedAddress(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: on other systems perto does not read the destination of a packet")
	}
	for _, host := range []string{"", "0.0.0.0"} {
		t.Run("host "+host, func(t *testing.T) {
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(free.Addr().String())
			free.Close()
			address := net.JoinHostPort(host, port)
			var s Sockets
			t.Cleanup(s.Close)
			if err := s.Open(t.Context(), []Address{{"tcp", address}, {"udp", address}}); err != nil {
				t.Fatal(err)
			}
			tcp, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer tcp.Close()
			udp, err := net.Dial("udp", "127.0.0.2:"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer udp.Close()
			fmt.Fprint(udp, "there and")
			files, variable := s.Pass()
			cmd := exec.Command(os.Args[0], address)
			cmd.ExtraFiles, cmd.Env = files, append(os.Environ(), variable, "NETX_TEST_CHILD=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			b := make([]byte, 100)
			udp.SetDeadline(time.Now().Add(5 * time.Second))
			if n, err := udp.Read(b); err != nil || string(b[:n]) != "there and back" {
				t.Errorf("got %q, %v", b[:n], err)
			}
		})
	}
}

func TestInheritRejectsMalformedVariable(t *testing.T) {
	for _, text := range []string{"x", "tcp :80", "tcp :80=x", "tcp :80=1", "tcp=3"} {
		t.Setenv(inheritEnv, text)
		if _, err := Inherit(); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
	t.Setenv(inheritEnv, "")
	n, err := Inherit()
	if err != nil {
		t.Fatal(err)
	}
	l, err := n.Listen(t.Context(), "tcp", "127.0.0.1:0") // not passed: opened
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
