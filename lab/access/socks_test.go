package access

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// recordingDialer connects to a listener of the operating system for every target, and
// records the target.
type recordingDialer struct {
	to    string
	asked chan string
}

func (d recordingDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d.asked <- address
	return (&net.Dialer{}).DialContext(ctx, network, d.to)
}

func startSOCKS(t *testing.T, pick func(string) (Dialer, error)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &SOCKS{Pick: pick}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		l.Close()
		s.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// dialogue sends bytes and checks the received bytes, in turn.
func dialogue(t *testing.T, address string, turns ...[]byte) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := 0; i < len(turns); i += 2 {
		c.Write(turns[i])
		if i+1 == len(turns) {
			return
		}
		got := make([]byte, len(turns[i+1]))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, turns[i+1]) {
			t.Fatalf("turn %d: got %x (%v), want %x", i/2, got, err, turns[i+1])
		}
	}
}

func TestSOCKSDialogues(t *testing.T) {
	refused := func(string) (Dialer, error) { return nil, errors.New("nobody of that name") }
	address := startSOCKS(t, refused)
	tests := []struct {
		name  string
		turns [][]byte
	}{
		{"no method that we speak", [][]byte{{5, 1, 1}, {5, 0xff}}},
		{"method 2 is chosen when offered", [][]byte{{5, 2, 0, 2}, {5, 2}}},
		{"unknown vantage, empty password", [][]byte{{5, 1, 2}, {5, 2}, {1, 1, 'x', 0}, {1, 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { dialogue(t, address, tt.turns...) })
	}

	d := recordingDialer{to: "127.0.0.1:1", asked: make(chan string, 8)}
	address = startSOCKS(t, func(string) (Dialer, error) { return d, nil })
	greet := [][]byte{{5, 1, 0}, {5, 0}}
	bad := []struct {
		name    string
		request []byte
		want    byte
	}{
		{"BIND", []byte{5, 2, 0, 1, 127, 0, 0, 1, 0, 80}, replyNoCommand},
		{"address type 9", []byte{5, 1, 0, 9}, replyNoAddressType},
		{"empty name", []byte{5, 1, 0, 3, 0}, replyFailure},
		{"nothing listens there", []byte{5, 1, 0, 1, 127, 0, 0, 1, 0, 80}, replyRefused},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			dialogue(t, address, greet[0], greet[1], tt.request, []byte{5, tt.want, 0, 1, 0, 0, 0, 0, 0, 0})
		})
	}
}

// TestSOCKSServesCurl runs the program curl through the server with a vantage's name.
func TestSOCKSServesCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed; ./scripts/test installs it")
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	go func() {
		for {
			c, err := web.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(c).ReadString('\n')
			io.WriteString(c, "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nnear")
			c.Close()
		}
	}()
	asked := make(chan string, 4)
	users := make(chan string, 4)
	address := startSOCKS(t, func(user string) (Dialer, error) {
		users <- user
		return recordingDialer{to: web.Addr().String(), asked: asked}, nil
	})
	for _, tt := range []struct{ proxy, wantUser string }{
		{"socks5h://sao-paulo@" + address, "sao-paulo"},
		{"socks5h://" + address, ""},
	} {
		out, err := exec.Command(curl, "-sS", "--max-time", "20", "--proxy", tt.proxy, "http://www.shop.example/").CombinedOutput()
		if err != nil || string(out) != "near" {
			t.Fatalf("curl: %v: %s", err, out)
		}
		if got := <-users; got != tt.wantUser {
			t.Errorf("user: got %q, want %q", got, tt.wantUser)
		}
		if got := <-asked; got != "www.shop.example:80" {
			t.Errorf("asked for %q: the name must be resolved behind the door", got)
		}
	}
}

// FuzzSOCKS reads any bytes. There must be no panic and no read past the end, and a
// target must be a host and a port.
func FuzzSOCKS(f *testing.F) {
	f.Add([]byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80})
	f.Add([]byte{5, 1, 2, 1, 9, 's', 'a', 'o', '-', 'p', 'a', 'u', 'l', 'o', 0, 5, 1, 0, 3, 1, 'x', 1, 187})
	f.Add([]byte{5, 2, 0, 2, 1, 0})
	f.Add([]byte{5, 1, 0, 5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80})
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReader(bytes.NewReader(data))
		var out bytes.Buffer
		if _, err := negotiate(in, &out); err != nil {
			return
		}
		target, code, err := readRequest(in)
		if err != nil {
			return
		}
		if code != replyOK || !strings.Contains(target, ":") {
			t.Errorf("got target %q with code %d", target, code)
		}
	})
}
