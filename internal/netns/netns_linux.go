package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace. A new one has only a loopback device, which is
// down. It exists until it is closed and no process in it is left. A killed test
// therefore leaves none behind.
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

// Do calls f on a thread inside the namespace. Sockets that f opens and processes that
// it starts belong to the namespace. Goroutines that it starts run outside.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// onThread calls f on a thread that ends afterwards, so that changes of f to the thread
// are discarded. It does not use the process's main thread, which cannot end and which
// /proc/self shows.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// This goroutine holds the main thread, so the goroutine of the call gets
			// another one.
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

// Close releases the namespace.
func (n *Namespace) Close() error { return n.file.Close() }
