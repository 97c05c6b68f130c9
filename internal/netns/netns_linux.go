package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace of its own: new ones have a loopback device,
// down, and nothing else. It exists as long as this or a process inside does, so
// also a killed test leaves none behind.
type Namespace struct{ file *os.File }

// New makes a network namespace. It needs CAP_SYS_ADMIN.
func New() (*Namespace, error) {
	type result struct {
		file *os.File
		err  error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{nil, fmt.Errorf("make network namespace: %w", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		made <- result{f, err}
	}()
	r := <-made
	if r.err != nil {
		return nil, r.err
	}
	return &Namespace{r.file}, nil
}

// Do calls f on a thread inside the namespace. Sockets that f opens and processes
// that it starts belong there for good; goroutines that it starts run outside.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, as in New
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// FD returns the file descriptor that keeps the namespace.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Close gives the namespace up.
func (n *Namespace) Close() error { return n.file.Close() }
