package netns

import (
	"net"
	"os"
	"testing"
)

func TestNamespaceIsIsolated(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	n, err := New()
	if err != nil {
		t.Skipf("cannot make network namespaces here: %v", err)
	}
	inside, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	err = n.Do(func() error {
		here, err := os.Readlink("/proc/thread-self/ns/net")
		if here == inside {
			t.Error("Do runs outside")
		}
		all, err2 := net.Interfaces()
		if len(all) != 1 || all[0].Name != "lo" || err2 != nil {
			t.Errorf("a new namespace has %v, %v", all, err2)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for range 20 { // the threads of Do must not be reused
		done := make(chan string)
		go func() {
			at, _ := os.Readlink("/proc/thread-self/ns/net")
			done <- at
		}()
		if at := <-done; at != inside {
			t.Errorf("a goroutine runs in %s", at)
		}
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := n.Do(func() error { return nil }); err == nil {
		t.Error("a closed namespace was entered")
	}
}
