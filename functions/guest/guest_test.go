package guest

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perto/functions"
)

// rustTarget reports whether a rustc has the target of the Rust project, and where.
func rustTarget() (string, bool) {
	for _, rustc := range []string{"rustc", "/usr/bin/rustc"} { // rustup's and Debian's
		out, err := exec.Command(rustc, "--print", "target-libdir", "--target", "wasm32-unknown-unknown").Output()
		if err != nil {
			continue
		}
		if found, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "libcore-*")); len(found) > 0 {
			return rustc, true
		}
	}
	return "", false
}

// TestProjects: what New writes is built by make, and answers.
func TestProjects(t *testing.T) {
	for _, language := range Languages() {
		t.Run(language, func(t *testing.T) {
			env := os.Environ()
			switch language {
			case "c":
				if _, err := exec.LookPath("clang"); err != nil {
					t.Skip("clang is not there: scripts/test installs it on Debian")
				}
			case "rust":
				rustc, ok := rustTarget()
				if !ok {
					t.Skip("no rustc has the target wasm32-unknown-unknown: rustup target add, or Debian's libstd-rust-dev-wasm32")
				}
				env = append(env, "PATH="+filepath.Dir(rustc)+":"+os.Getenv("PATH"))
			}
			dir := filepath.Join(t.TempDir(), "project")
			files, needed, err := New(language, dir, "hello-1")
			if err != nil || len(files) < 3 || needed == "" {
				t.Fatal(files, needed, err)
			}
			build := exec.Command("make", "-C", dir)
			build.Env = append(env, "GOFLAGS=-mod=mod", "GOWORK=off")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			wasm, err := os.ReadFile(filepath.Join(dir, "hello-1.wasm"))
			if err != nil {
				t.Fatal(err)
			}
			h, err := functions.NewHost(t.Context(), functions.HostConfig{Limits: functions.Limits{Wall: time.Minute}})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			m, err := h.Load(t.Context(), "hello-1", wasm, functions.ModuleOptions{Activation: functions.PerRequest})
			if err != nil {
				t.Fatal(err)
			}
			for uri, want := range map[string]string{"/": "Hello, world!\n", "/?name=Ana": "Hello, Ana!\n"} {
				r, err := m.Handle(t.Context(), &functions.Request{Method: "GET", URI: uri, Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("192.0.2.1:1")}, nil)
				if err != nil || r.Status != 200 || string(r.Body) != want {
					t.Errorf("%s: got %+v, %v", uri, r, err)
				}
			}
			for _, i := range m.About().Imports {
				if strings.HasPrefix(i, "perto.") {
					t.Errorf("it imports %s: hosts that are not ours could not run it", i)
				}
			}
			t.Logf("%d bytes", len(wasm))
			if _, _, err := New(language, dir, "hello-1"); err == nil || !strings.Contains(err.Error(), "exists") {
				t.Errorf("a second time: %v", err)
			}
		})
	}
	if _, _, err := New("cobol", t.TempDir(), "x"); err == nil || !strings.Contains(err.Error(), "known are c, go, rust") {
		t.Errorf("an unknown language: %v", err)
	}
	if _, _, err := New("c", t.TempDir(), "../x"); err == nil {
		t.Error("a name that leads elsewhere was taken")
	}
}
