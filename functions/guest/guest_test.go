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
	"perto/internal/fields"
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

// TestTheHeaderForC: each thing that perto.h has, by a guest that is asked for it.
func TestTheHeaderForC(t *testing.T) {
	if _, err := exec.LookPath("clang"); err != nil {
		t.Skip("clang is not there: scripts/test installs it on Debian")
	}
	file := filepath.Join(t.TempDir(), "sdk.wasm")
	build := exec.Command("clang", "--target=wasm32", "-O2", "-nostdlib", "-ffreestanding", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-parameter",
		"-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=8192", "-o", file, "testdata/sdk.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := load(t, file)
	long := strings.Repeat("0123456789", 6000)
	for _, tt := range []struct {
		uri, want string
		header    []string
	}{
		{"/query?u=1&v=a%20b+c%2&v=2", "1 a b c%2", nil},
		{"/query?v=%3Ca%3E&", "1 &lt;a&gt;", nil},
		{"/query?vv=1", "0 ", nil},
		{"/query?v", "1 ", nil},
		{"/query", "0 ", nil},
		{"/json?v=%22%5C%0a%c3%a3", `\"\\\u000aã`, nil},
		{"/json?v=%ff%c3%80%80x%e0%80%80%ed%a0%80%f0%9f%a7%89", "\ufffd\u00c0\ufffdx" + strings.Repeat("\ufffd", 6) + "\U0001f9c9", nil},
		{"/cookie", "1 b c", []string{"Cookie", "x=1; other=name", "Cookie", "name=\"b c\""}},
		{"/cookie", "0 ", []string{"Cookie", "name=\xc3\xa3; xname=1"}},
		{"/headers", "a|b, c|", []string{"X-Two", "a", "x-two", "b, c"}},
		{"/from", "192.0.2.1:1", nil},
		{"/numbers", "18446744073709551615 12399", nil},
		{"/memory", "1", nil},
		{"/body", "the body", nil},
		{"/pass", "7 next GET", []string{"Range", "bytes=0-1"}},
		{"/query?v=" + long, "", nil}, // longer than there is room for
	} {
		r, err := m.Handle(t.Context(), &functions.Request{Method: "GET", URI: tt.uri, Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("192.0.2.1:1"), Header: fields.Of(tt.header...), Body: []byte("the body")},
			func(q *functions.Request) (*functions.Response, error) {
				if q.Header.Has("range") {
					t.Error("a field that was removed is there")
				}
				v, _ := q.Header.Get("x-guest")
				return &functions.Response{Status: 200, Body: []byte("next " + string(v))}, nil
			})
		if err != nil || string(r.Body) != tt.want {
			t.Errorf("%.60s %q: got %+v, %v; want %q", tt.uri, tt.header, r, err, tt.want)
		}
	}
}

// load reads a module and gives it a host of its own.
func load(t *testing.T, file string) *functions.Module {
	t.Helper()
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(wasm))
	h, err := functions.NewHost(t.Context(), functions.HostConfig{Limits: functions.Limits{Wall: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	m, err := h.Load(t.Context(), "hello-1", wasm, functions.ModuleOptions{Activation: functions.PerRequest})
	if err != nil {
		t.Fatal(err)
	}
	return m
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
			m := load(t, filepath.Join(dir, "hello-1.wasm"))
			for uri, want := range map[string]string{"/": "Hello, world!\n", "/?name=Ana": "Hello, Ana!\n", "/?username=Ana": "Hello, world!\n", "/?x=1&name=": "Hello, world!\n",
				"/?x&name=Jo%C3%A3o+%3Cb%3E%26%22&name=Rui": "Hello, João &lt;b&gt;&amp;&#34;!\n"} {
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
