package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReloadKeepsZoneThatShrinksWithoutHigherSerial: a zone file that lost most of its
// names is rejected unless its serial is higher.
func TestReloadKeepsZoneThatShrinksWithoutHigherSerial(t *testing.T) {
	dir := t.TempDir()
	port := freePort(t)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	zoneFile := func(serial, names int) {
		var b strings.Builder
		fmt.Fprintf(&b, "$TTL 60\n@ SOA ns1 h %d 2 3 4 5\n@ NS ns1\nns1 A 127.0.0.1\nserial%d A 127.0.0.1\n", serial, serial)
		for i := range names {
			fmt.Fprintf(&b, "n%d A 192.0.2.7\n", i)
		}
		write("cdn.zone", b.String())
	}
	write("perto.hcl", fmt.Sprintf(`
node "one" {
  roles     = ["dns"]
  addresses = ["127.0.0.1"]
  dns       = ["127.0.0.1:%d"]
  heartbeat = "127.0.0.1:0"
  api       = ""
}
zone "cdn.example" { file = "cdn.zone" }
`, port))
	zoneFile(7, 40)
	diagnostics := newOutput()
	parent := exec.Command(command(t), "run", "-c", filepath.Join(dir, "perto.hcl"))
	parent.Stderr = diagnostics
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		parent.Process.Signal(syscall.SIGTERM)
		parent.Wait()
	}()
	diagnostics.waitFor(t, "the node is up")
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", port))
	}}
	serves := func(name string) error {
		_, err := r.LookupHost(t.Context(), name+".cdn.example.")
		return err
	}
	zoneFile(6, 0)
	parent.Process.Signal(syscall.SIGHUP)
	diagnostics.waitFor(t, "lost 41 of 43 names, and its serial 6 is not higher than 7; set it above 7 to confirm the change")
	if err := serves("n5"); err != nil {
		t.Errorf("the old zone is not served: %v", err)
	}
	zoneFile(6, 40)
	parent.Process.Signal(syscall.SIGHUP)
	diagnostics.waitFor(t, "the serial of the zone cdn.example went back from 7 to 6")
	for serves("serial6") != nil { // the new zone takes effect soon
		if t.Context().Err() != nil {
			t.Fatal("the new zone is not served")
		}
	}
	zoneFile(9, 0)
	parent.Process.Signal(syscall.SIGHUP)
	diagnostics.waitFor(t, "lost 41 of 43 names (serial 9, before 6)")
	for serves("serial9") != nil {
		if t.Context().Err() != nil {
			t.Fatal("the new zone is not served")
		}
	}
}
