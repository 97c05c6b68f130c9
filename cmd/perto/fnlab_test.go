package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"perto/geodata"
	"perto/lab"
)

// labInProcess brings a lab up for a test, and returns it with the address of its API.
func labInProcess(t *testing.T) (l *lab.Lab, api string) {
	t.Helper()
	geo, err := geodata.World()
	if err != nil {
		t.Fatal(err)
	}
	place, err := places()
	if err != nil {
		t.Fatal(err)
	}
	if l, err = lab.Up(t.Context(), lab.Config{Geo: geo, Place: place}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	handler, err := l.API()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return l, strings.TrimPrefix(server.URL, "http://")
}

// TestFnInALab: a function in a lab is pushed, requested, changed and rolled back. The
// test also covers logs, code on demand and rejected commands.
func TestFnInALab(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	l, api := labInProcess(t)
	const file = "../../functions/testdata/guests/where/where.wasm"
	key := filepath.Join(t.TempDir(), "ana.key")
	fn := func(line string) (int, string, string) {
		var out, diagnostics strings.Builder
		code := run(t.Context(), append([]string{"--api", api}, strings.Fields(strings.NewReplacer("FILE", file, "KEY", key).Replace(line))...), &out, &diagnostics)
		return code, out.String(), diagnostics.String()
	}
	ask := func(vantage, path, want string) {
		t.Helper()
		v, err := l.Vantage(vantage)
		if err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(30 * time.Second)
		for {
			f, err := v.Fetch(t.Context(), "http://www.shop.example"+path)
			if err == nil && strings.Contains(string(f.Body), want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s from %s: got %+v, %v; want %q", path, vantage, f, err, want)
			}
		}
	}
	step := func(line, want string) {
		t.Helper()
		if code, out, diagnostics := fn(line); code != 0 || !strings.Contains(out+diagnostics, want) {
			t.Fatalf("%s: exit code %d, %q %q; want %q", line, code, out, diagnostics, want)
		}
	}
	step("fn push FILE shop.cdn.example/where --config=first- --kv=a=b", "where version 1")
	ask("sao-paulo", "/where", `first-{"name":"gru-`)
	ask("tokyo", "/where", `first-{"name":"nrt-1"`)
	ask("tokyo", "/where", `"city":"Tokyo"`)
	step("fn push FILE http://shop.cdn.example/where --config=second- --to nrt-1", "nrt-1  had the code")
	ask("tokyo", "/where", "second-{")
	ask("sao-paulo", "/where", "first-{")
	step("fn rollback shop.cdn.example/where --to nrt-1", "version 3")
	ask("tokyo", "/where", "first-{")
	step("fn history shop.cdn.example/where --to nrt-1", "rollback to version 1")
	step("--json fn history shop.cdn.example/where --to nrt-1", `"version": 3`)
	step("fn list --to nrt-1", "shop.cdn.example/where")
	step("--json fn list --to nrt-1", `"version": 3`)
	step("fn logs shop.cdn.example/where --to nrt-1", "asked")
	// Client text that a guest logs or sets as a field is escaped for the terminal.
	const says = "../../functions/testdata/guests/says/says.wasm"
	step("fn push "+says+" shop.cdn.example/says", "says version 1")
	ask("tokyo", "/says?H%05x-abcok", "")
	tokyo := "--from tokyo http://www.shop.example/says?"
	const evil = "%1b%5d0;owned%07%c2%9b31m%e2%80%aea%ff"
	waitFor := func(line, want string) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for {
			_, out, diagnostics := fn(line)
			if strings.ContainsAny(out+diagnostics, "\x1b\x07\r\u009b\u202e") || !utf8.ValidString(out+diagnostics) {
				t.Fatalf("%s: printed %q %q", line, out, diagnostics)
			}
			if strings.Contains(out, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: printed %q %q; want %q", line, out, diagnostics, want)
			}
		}
	}
	waitFor("lab fetch "+tokyo+"lfirst%0a12:00:00.000%20nrt-1%20ERROR%20forged"+evil, "200,")
	waitFor("fn logs shop.cdn.example/says --to nrt-1", `INFO  first\n12:00:00.000 nrt-1 ERROR forged\u001b]0;owned\u0007\u009b31m\u202ea\xff`+"\n")
	waitFor("--json fn logs shop.cdn.example/says --to nrt-1", `first\\n12:00:00.000 nrt-1 ERROR forged\\u001b]`)
	const field = "%c2%9b31m%e2%80%ae"
	waitFor("lab fetch -i "+tokyo+"H%03x-a"+field, `X-A: \u009b31m\u202e`+"\n")
	waitFor("--json lab fetch "+tokyo+"H%03x-a"+field, `\u009b31m\u202e`)
	waitFor("lab fetch "+tokyo+"H%0ccache-status"+field, `\u009b31m\u202e`)
	waitFor("lab trace "+tokyo+"H%0ccache-status"+field, `\u009b31m\u202e`)
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.wasm") // the same code with another digest
	if err := os.WriteFile(other, append(wasm, 0, 2, 1, 'x'), 0o644); err != nil {
		t.Fatal(err)
	}
	step("fn push "+other+" shop.cdn.example/demand --on-demand --config=pulled-", "pulls the code at the first request")
	ask("london", "/demand", "pulled-{")
	step("fn push FILE shop.cdn.example/alone --to origin --placement origin", "origin  had the code")
	ask("london", "/alone", `"placement":"origin"`)
	step("fn push FILE shop.cdn.example/healthz --config=pushed-", "healthz version 1")
	ask("tokyo", "/healthz", "pushed-{")
	step("fn remove shop.cdn.example/healthz", "healthz version 2, removed")
	ask("tokyo", "/healthz", "ok")
	step("fn history shop.cdn.example/healthz", "2        ")
	step("fn rollback shop.cdn.example/healthz", "healthz version 3, sha256")
	ask("tokyo", "/healthz", "pushed-{")
	step("fn remove shop.cdn.example/healthz", "removed")
	step("fn remove shop.cdn.example/greeting", "greeting version 1, removed") // declared by the configuration
	step("fn push FILE shop.cdn.example/limits --memory 32MiB --subrequests 2 --wall 2s --to nrt-1", "limits version 1")
	waitFor("--json fn list --to nrt-1", `"memory_bytes": 33554432`)
	waitFor("--json fn list --to nrt-1", `"subrequests": 2`)
	step("key new --sign ana --out KEY", "functions { trust = [\"ana:")
	for line, want := range map[string]string{
		"fn push FILE shop.cdn.example/where --key KEY":                            "this node does not trust the key",
		"fn push FILE shop.cdn.example":                                            "it takes a service and a path",
		"fn push FILE shop.cdn.exmaple/where":                                      `did you mean "shop.cdn.example"?`,
		"fn push FILE other.example/where":                                         "no service of this name is configured (configured services: ",
		"fn push FILE www.shop.example/where":                                      "this is an alias (functions belong to the service: shop.cdn.example)",
		"fn rollback shop.cdn.exmaple/where":                                       "did you mean",
		"fn logs shop.cdn.exmaple/where":                                           "did you mean",
		"fn logs shop.cdn.example/wher":                                            "did you mean shop.cdn.example/where?",
		"fn logs shop.cdn.example/never":                                           "no node has this function",
		"fn push FILE shop.cdn.example/a/../b":                                     "has a segment . or ..",
		"fn push fn_test.go shop.cdn.example/where":                                "not a WebAssembly module",
		"fn push FILE shop.cdn.example/where --to none":                            "the lab has gru-1",
		"fn push FILE shop.cdn.example/where --kv nonsense":                        "use the form KEY=VALUE",
		"fn remove shop.cdn.example/never":                                         "no node has this function",
		"fn remove shop.cdn.example/healthz":                                       "it is already removed",
		"fn history shop.cdn.example/never":                                        "no node has a release of it",
		"fn rollback shop.cdn.example/never":                                       "no node has a release of it",
		"fn rollback shop.cdn.example/where 99":                                    "version 99 is not kept",
		"fn logs shop.cdn.example/where -f":                                        "--follow works with one node only",
		"fn inspect FILE --image " + filepath.Join(t.TempDir(), "x"):               "an image is signed",
		"--api 127.0.0.1:1 fn push FILE shop.cdn.example/where":                    "no key is given, and no lab",
		"--api 127.0.0.1:1 fn push FILE shop.cdn.example/where --key KEY --to a:1": "ask http://a:1",
	} {
		if code, out, diagnostics := fn(line); code == 0 || !strings.Contains(diagnostics+out, want) {
			t.Errorf("%s: exit code %d, %q %q; want %q", line, code, out, diagnostics, want)
		}
	}
	image := filepath.Join(t.TempDir(), "where.image")
	step("fn inspect FILE --image "+image+" --key KEY", "instances are copies of it")
	step("fn inspect "+image, "image of module sha256")
}

// TestFnNewAndDev: a new project is built, and fn dev serves the module and replaces it
// after a new build.
func TestFnNewAndDev(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := filepath.Join(t.TempDir(), "hello")
	var out strings.Builder
	if code := run(t.Context(), []string{"fn", "new", dir}, &out, io.Discard); code != 0 || !strings.Contains(out.String(), "make -C") {
		t.Fatal(code, out.String())
	}
	if code := run(t.Context(), []string{"fn", "new", dir}, io.Discard, io.Discard); code == 0 {
		t.Error("a project was written over another")
	}
	wasm, err := os.ReadFile("../../functions/testdata/guests/where/where.wasm")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "hello.wasm")
	if err := os.WriteFile(file, wasm, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	next := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "behind") }))
	defer next.Close()
	ctx, stop := context.WithCancel(t.Context())
	served := newOutput()
	done := make(chan int)
	go func() {
		done <- run(ctx, []string{"fn", "dev", file, "--listen", address, "--config=dev-", "--next", next.URL}, served, served)
	}()
	get := func(path, want string) {
		t.Helper()
		r, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if body, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: got %q, %v, want %q", path, body, err, want)
		}
	}
	served.waitFor(t, "is served at")
	get("/x", `dev-{"name":"`)
	get("/x+", "<behind>")
	if err := os.WriteFile(file, append(wasm, 0, 2, 1, 'x'), 0o644); err != nil {
		t.Fatal(err)
	}
	served.waitFor(t, "a new build: sha256")
	get("/x", `dev-{"name":"`)
	served.waitFor(t, "asked") // the guest's log
	stop()
	if code := <-done; code != 0 {
		t.Errorf("it ended with %d", code)
	}
}
