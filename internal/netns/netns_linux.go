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
	var n Namespace
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// Do calls f on a thread inside the namespace. Sockets that f opens and processes
// that it starts belong there for good; goroutines that it starts run outside.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// onThread calls f on a thread that ends afterwards, whatever f did to it. The
// process's main thread is not taken: it cannot end, and /proc/self shows its view.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// While this goroutine holds it, the one that the call starts gets another.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f() // still locked: the thread ends with the goroutine
	}()
	return <-done
}

// FD returns the file descriptor that keeps the namespace.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Close gives the namespace up.
func (n *Namespace) Close() error { return n.file.Close() }
