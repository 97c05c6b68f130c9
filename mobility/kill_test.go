package mobility

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"perto/internal/atomicfile"
)

// killedDir is the environment variable with the Store's folder of a child process.
const killedDir = "PERTO_TEST_KILLED_DIR"

// TestKilled: a child process applies releases as fast as it can, and is killed many
// times. Each release that it has reported is there afterwards, and all files are whole.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killedDir); dir != "" {
		s := open(t, StoreConfig{Dir: dir, Keep: 3})
		version := uint64(1)
		if h := s.History("shop.cdn.example", "/greeting"); len(h) > 0 {
			version = h[0].Version + 1
		}
		for ; ; version++ {
			wasm := module(strings.Repeat(fmt.Sprint(version), 5_000))
			apply(t, s, greeting(version, wasm))
			put(t, s, wasm)
			fmt.Printf("done %d\n", version)
		}
	}
	dir := t.TempDir()
	last, done := uint64(0), make(map[uint64]bool)
	for round := range 6 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killedDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		said := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, _ := fmt.Sscanf(lines.Text(), "done %d", &last); n != 1 {
				continue
			}
			if done[last] = true; !said {
				said = true
				time.AfterFunc(time.Duration(round)*7*time.Millisecond, func() { cmd.Process.Kill() })
			}
		}
		cmd.Wait()
		if !said {
			t.Fatal("the child did nothing")
		}
		s := open(t, StoreConfig{Dir: dir, Keep: 3})
		h := s.History("shop.cdn.example", "/greeting")
		if len(h) == 0 || h[0].Version < last || h[0].Version > last+1 {
			t.Fatalf("version %d was done; there is %+v", last, h)
		}
		for _, r := range h {
			wasm, ok := s.Module(r.Digest)
			if done[r.Version] && (!ok || !bytes.HasSuffix(wasm, fmt.Append(nil, r.Version))) {
				t.Errorf("the module of version %d is not there", r.Version)
			}
		}
		if names := files(t, dir+"/modules") + files(t, dir+"/releases"); strings.Contains(names, atomicfile.TempPrefix) || strings.Contains(names, damagedAfter) {
			t.Errorf("left behind: %s", names)
		}
	}
}
