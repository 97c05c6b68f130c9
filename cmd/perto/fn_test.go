package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFn builds a guest, and inspects and invokes it.
func TestFn(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	file := filepath.Join(t.TempDir(), "greeting.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", file, "../../functions/testdata/guests/handler")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for line, want := range map[string]string{
		"fn inspect FILE":                                           "ABI          http-wasm",
		"--json fn inspect FILE":                                    `"http_handler.get_uri"`,
		"fn invoke FILE /hello?a=b":                                 "hello GET /hello?a=b from 127.0.0.1:0",
		"--json fn invoke FILE /pass":                               `"status": 404`,
		"fn invoke FILE /echo -X POST -d shout":                     "SHOUT",
		"fn invoke FILE /headers -H X-Two:1":                        "1 x-two| 1 1|",
		"fn invoke FILE /count --repeat 3":                          "1\n2\n3\n",
		"fn invoke FILE /count --repeat 3 --activation per-request": "1\n1\n1\n",
		"fn invoke FILE /config --config=greeting":                  "greeting 3",
		"fn invoke FILE /kv?BR --kv BR=BRL --kv PT=EUR":             "3 BRL",
		"fn invoke FILE /fetch?/a&/b --subrequests 1":               "404=;-2=;",
	} {
		var out, diagnostics strings.Builder
		if code := run(t.Context(), strings.Fields(strings.NewReplacer("FILE", file, "invoke", "invoke --wall 1m").Replace(line)), &out, &diagnostics); code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit code %d, %q %q; want %q", line, code, out.String(), diagnostics.String(), want)
		}
	}
	for line, want := range map[string]string{
		"fn invoke FILE /loop --wall 50ms":        "run function greeting: it exceeded its time limit (50ms)",
		"fn invoke FILE /trap --wall 1m":          "run function greeting: it crashed",
		"fn invoke FILE /panic?x --wall 1m":       "WARN panic: no luck with /panic?x",
		"fn invoke FILE / --activation sometimes": "unknown activation",
		"fn invoke FILE / -H nonsense":            `use the form "Name: value"`,
		"fn invoke FILE / --kv nonsense":          "use the form KEY=VALUE",
		"fn dev FILE --kv nonsense":               "use the form KEY=VALUE",
		"fn invoke FILE / --memory 64":            "it takes a number with a unit, such as 64MiB",
		"fn invoke FILE / --memory 64KiB":         "KiB of memory; its limit is 64 (raise the limit",
		"fn invoke FILE / --subrequests=-1":       "a limit is negative",
		"fn inspect none.wasm":                    "no such file",
		"fn inspect fn_test.go":                   "it is not a WebAssembly module",
	} {
		var got strings.Builder
		if code := run(t.Context(), strings.Fields(strings.Replace(line, "FILE", file, 1)), io.Discard, &got); code == 0 || !strings.Contains(got.String(), want) {
			t.Errorf("%s: exit code %d, %q; want %q", line, code, got.String(), want)
		}
	}
}
