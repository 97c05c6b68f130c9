package scaffold

import (
	"errors"
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

// rustTarget returns a rustc that has the target of the Rust project.
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

// project writes a project, builds it with make, and loads the module. When main is not
// "", that file replaces the project's own main.
func project(t *testing.T, language, main string) (dir string, m *functions.Module) {
	t.Helper()
	env := os.Environ()
	switch language {
	case "c":
		if _, err := exec.LookPath("clang"); err != nil {
			t.Skip("clang is not installed; scripts/test installs it on Debian")
		}
	case "rust":
		rustc, ok := rustTarget()
		if !ok {
			t.Skip("no rustc has the target wasm32-unknown-unknown; run rustup target add, or install Debian's libstd-rust-dev-wasm32")
		}
		env = append(env, "PATH="+filepath.Dir(rustc)+":"+os.Getenv("PATH"))
	}
	dir = filepath.Join(t.TempDir(), "project")
	files, needed, err := New(language, dir, "hello-1")
	if err != nil || len(files) < 3 || needed == "" {
		t.Fatal(files, needed, err)
	}
	if main != "" {
		text, err := os.ReadFile(main)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "main"+filepath.Ext(main)), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("make", "-C", dir)
	build.Env = append(env, "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := build.CombinedOutput()
	if err != nil || strings.Contains(string(out), "warning") {
		t.Fatalf("%v: %s", err, out)
	}
	wasm, err := os.ReadFile(filepath.Join(dir, "hello-1.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(wasm))
	h, err := functions.NewHost(t.Context(), functions.HostConfig{Limits: functions.Limits{Wall: time.Minute}, Self: functions.Self{Name: "gru-1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	m, err = h.Load(t.Context(), "hello-1", wasm, functions.ModuleOptions{KV: map[string]string{"a": "1", "empty": ""}})
	if err != nil {
		t.Fatal(err)
	}
	return dir, m
}

// handle runs a module for a request. The next handler responds with the target.
func handle(t *testing.T, m *functions.Module, uri string, header ...string) *functions.Response {
	t.Helper()
	q := &functions.Request{Method: "GET", URI: uri, Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("192.0.2.1:1"), Header: fields.Of(header...), Body: []byte(body)}
	r, err := m.Handle(t.Context(), q, func(q *functions.Request) (*functions.Response, error) {
		if q.Header.Has("range") {
			t.Error("a removed field is still there")
		}
		v, _ := q.Header.Get("x-guest")
		return &functions.Response{Status: 203, Body: []byte(q.URI + " " + string(v))}, nil
	})
	if err != nil {
		t.Fatalf("%.60s: %v", uri, err)
	}
	return r
}

var body = strings.Repeat("0123456789", 2500) // several parts of 16 KiB

// TestBindings: guests use all bindings of the projects.
func TestBindings(t *testing.T) {
	long := "/" + strings.Repeat("0123456789", 2000)
	type dialogue struct {
		uri, want string
		header    []string
	}
	common := []dialogue{
		{"/headers", "a||", []string{"X-Two", "a", "x-two", "b, c"}},
		{"/body", body, nil},
		{"/kv", "1 true| true| false|", nil},
		{"/info", `{"name":"gru-1","pop":"","city":"","country":"","placement":""}{"address":"192.0.2.1","city":"","country":"","lat":0,"lon":0}true`, nil},
		{"/fetch", "203 /other |-1 |", nil},
		{"/pass", "false 203 /passed GET", []string{"Range", "bytes=0-1"}},
		{long, "20001 20000", []string{"X-Long", long[1:]}}, // more than the first buffer holds
		{"/headers", "||", nil},                             // and the buffer holds none of it any more
	}
	for language, all := range map[string][]dialogue{
		"go":   common,
		"rust": append([]dialogue{{"/encode", "a%20b%2F%C3%A9%26%2B%25-._~", nil}}, common...),
		"c": append([]dialogue{
			{"/query?u=1&v=a%20b+c%2&v=2", "1 a b c%2", nil},
			{"/query?v=%3Ca%3E&", "1 &lt;a&gt;", nil},
			{"/query?vv=1", "0 ", nil},
			{"/query?v", "1 ", nil},
			{"/query", "0 ", nil},
			{"/json?v=%22%5C%0a%c3%a3", `\"\\\u000aã`, nil},
			{"/json?v=%ff%c3%80%80x%e0%80%80%ed%a0%80%f0%9f%a7%89", "\ufffd\u00c0\ufffdx" + strings.Repeat("\ufffd", 6) + "\U0001f9c9", nil},
			{"/cookie", "1 b c", []string{"Cookie", "x=1; other=name", "Cookie", "name=\"b c\""}},
			{"/cookie", "0 ", []string{"Cookie", "name=\xc3\xa3; xname=1"}},
			{"/all", "a|b, c|", []string{"X-Two", "a", "x-two", "b, c"}},
			{"/from", "192.0.2.1:1", nil},
			{"/numbers", "18446744073709551615 12399", nil},
			{"/memory", "1", nil},
			{"/query?v=" + strings.Repeat(long, 3), "", nil}, // more than the arena holds
		}, common...),
	} {
		t.Run(language, func(t *testing.T) {
			_, m := project(t, language, map[string]string{"c": "testdata/calls.c", "go": "testdata/calls.go", "rust": "testdata/calls.rs"}[language])
			for _, d := range all {
				if r := handle(t, m, d.uri, d.header...); string(r.Body) != d.want {
					t.Errorf("%.60s %.60q: got %d %.200q, want %.200q", d.uri, d.header, r.Status, r.Body, d.want)
				}
			}
			if language == "go" && !m.About().Reseeds {
				t.Error("it does not export perto_reseed")
			}
		})
	}
}

// TestProjects: make builds the projects that New writes, and they respond.
func TestProjects(t *testing.T) {
	for _, language := range Languages() {
		t.Run(language, func(t *testing.T) {
			dir, m := project(t, language, "")
			for uri, want := range map[string]string{
				"/": "Hello, world!\n", "/?name=Ana": "Hello, Ana!\n", "/?username=Ana": "Hello, world!\n", "/?x=1&name=": "Hello, world!\n",
				"/?x&name=Jo%C3%A3o+%3Cb%3E%26%22&name=Rui": "Hello, João &lt;b&gt;&amp;&#34;!\n",
			} {
				if r := handle(t, m, uri); r.Status != 200 || string(r.Body) != want {
					t.Errorf("%s: got %d %q, want %q", uri, r.Status, r.Body, want)
				}
			}
			for _, i := range m.About().Imports {
				if strings.HasPrefix(i, "perto.") {
					t.Errorf("it imports %s: only perto could run it", i)
				}
			}
			if _, _, err := New(language, dir, "hello-1"); err == nil || !strings.Contains(err.Error(), "exists") {
				t.Errorf("a second time: %v", err)
			}
		})
	}
	if _, _, err := New("cobol", t.TempDir(), "x"); err == nil || !strings.Contains(err.Error(), "known languages: c, go, rust") {
		t.Errorf("an unknown language: %v", err)
	}
	if _, _, err := New("c", t.TempDir(), "../x"); err == nil {
		t.Error("a name with a path was accepted")
	}
}

// TestStackOfC: the stack of C guests is large enough for common buffers. A stack
// overflow traps and does not overwrite the data below.
func TestStackOfC(t *testing.T) {
	_, m := project(t, "c", "testdata/stack.c")
	for _, bytes := range []string{"1000", "20000", "50000"} {
		if r := handle(t, m, "/"+bytes); string(r.Body) != body {
			t.Errorf("%s bytes: the body that was read before has changed", bytes)
		}
	}
	r, err := m.Handle(t.Context(), &functions.Request{Method: "GET", URI: "/100000"}, nil)
	if !errors.Is(err, functions.ErrTrap) {
		t.Errorf("more than there is: got %+v, %v", r, err)
	}
}
