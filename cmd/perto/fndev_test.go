package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"perto/functions"
	"perto/internal/printable"
)

// TestFnDevSendsOneRequest: fn dev ends guests as nodes do. The site behind the module
// receives only requests that pass. HEAD keeps its length.
func TestFnDevSendsOneRequest(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var asked atomic.Int32
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Length", "7")
		if r.Method != http.MethodHead {
			io.WriteString(w, "behind\n")
		}
	}))
	defer site.Close()
	var diagnostics strings.Builder
	e := &env{ctx: context.Background(), out: io.Discard, err: printable.NewWriter(&diagnostics)}
	h, m, err := e.fnHost("../../functions/testdata/guests/says/says.wasm", functions.Limits{}, functions.ModuleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var module atomic.Pointer[functions.Module]
	module.Store(m)
	dev := httptest.NewServer((&fnDevCmd{Next: site.URL}).handler(e, &module))
	defer dev.Close()
	ask := func(method, text string) (int, string, int64) {
		t.Helper()
		q, err := http.NewRequest(method, dev.URL+"/?"+text, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(body), r.ContentLength
	}
	for _, text := range []string{"u/a%20HTTP/1.1%0d%0aHost:x%0d%0a%0d%0aGET%20/b", "f/%0a", "m%0d", "u", "f", "m", "u@evil.example/", "u/%1b%5d0;x%07"} {
		if status, body, _ := ask("GET", text); status != 500 || !strings.Contains(body, "cannot be part of a request line") {
			t.Errorf("%s: got %d %q", text, status, body)
		}
	}
	if asked.Load() != 0 {
		t.Errorf("the site was asked %d times", asked.Load())
	}
	if status, body, _ := ask("GET", "u/a"); status != 200 || body != "behind\n" {
		t.Errorf("what passes: got %d %q", status, body)
	}
	if status, body, length := ask("HEAD", "u/a"); status != 200 || body != "" || length != 7 {
		t.Errorf("HEAD: got %d %q, length %d", status, body, length)
	}
	if commands(strings.ReplaceAll(diagnostics.String(), "\n", "")) {
		t.Errorf("it printed %q", diagnostics.String())
	}
}

// TestFnDevLoadsABuildOfItsStart: a build that ends while fn dev starts replaces the
// module that was loaded before it.
func TestFnDevLoadsABuildOfItsStart(t *testing.T) {
	c := &fnDevCmd{File: filepath.Join(t.TempDir(), "hello.wasm")}
	if err := os.WriteFile(c.File, []byte("first"), 0o644); err != nil {
		t.Fatal(err)
	}
	loaded := c.stamp()
	if err := os.WriteFile(c.File, []byte("second build"), 0o644); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*watchEvery)
		defer cancel()
		changes := 0
		c.watch(ctx, loaded, func() { changes++ })
		if changes != 1 {
			t.Errorf("got %d changes, want 1", changes)
		}
	})
}
