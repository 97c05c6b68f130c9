package mobility

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"perto"
)

// key returns a signing key that depends only on its name.
func key(name string) SigningKey {
	seed := bytes.Repeat([]byte{byte(len(name))}, ed25519.SeedSize)
	copy(seed, name)
	return SigningKey{Name: name, private: ed25519.NewKeyFromSeed(seed)}
}

var alice = key("alice")

// module returns a module of a few bytes. A Store does not check its content.
func module(text string) []byte { return []byte("\x00asm\x01\x00\x00\x00" + text) }

func greeting(version uint64, wasm []byte) Release {
	return Release{Service: "shop.cdn.example", Path: "/greeting", Version: version, Digest: Digest(wasm), Bytes: int64(len(wasm)),
		Settings: Settings{Activation: "pooled", KV: map[string]string{"b": "2", "a": "<1>"}}, Time: time.Unix(1795449600, 0).UTC()}
}

func sign(t testing.TB, r Release) Signed {
	t.Helper()
	s, err := Sign(alice, r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signAnything signs any text with alice's key, without the checks of Sign.
func signAnything(text string) Signed {
	return Signed{Release: text, Key: alice.Name, Signature: ed25519.Sign(alice.private, signed(text))}
}

func open(t testing.TB, cfg StoreConfig) *Store {
	t.Helper()
	if cfg.Trust == nil {
		cfg.Trust = []PublicKey{alice.Public()}
	}
	s, err := OpenStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func apply(t testing.TB, s *Store, r Release) (missing bool) {
	t.Helper()
	missing, err := s.Apply(sign(t, r))
	if err != nil {
		t.Fatal(err)
	}
	return missing
}

func put(t testing.TB, s *Store, wasm []byte) {
	t.Helper()
	if err := s.Put(t.Context(), Digest(wasm), bytes.NewReader(wasm)); err != nil {
		t.Fatal(err)
	}
}

// rejected checks an error's kind and text.
func rejected(t *testing.T, what string, err error, kind perto.Kind, why string) {
	t.Helper()
	e, ok := errors.AsType[*perto.Error](err)
	if !ok || e.Kind != kind || !strings.Contains(err.Error(), why) {
		t.Errorf("%s: got %v, want %s: %q", what, err, kind, why)
	}
}

// shown lists the functions that should run, one a line.
func shown(s *Store) string {
	var b strings.Builder
	for _, f := range *s.Desired().Load() {
		fmt.Fprintf(&b, "%s%s %d %.8s %s %s %v\n", f.Service, f.Path, f.Version, f.Digest, f.Signer, f.Source, f.Present)
	}
	return b.String()
}

func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestApplyRejects(t *testing.T) {
	wasm := module("a")
	good := sign(t, greeting(2, wasm))
	change := func(f func(*Signed)) Signed { s := good; f(&s); return s }
	release := func(f func(*Release)) Signed {
		r := greeting(3, wasm)
		f(&r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return signAnything(string(text))
	}
	mallory, err := Sign(key("mallory"), greeting(3, wasm))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		signed Signed
		kind   perto.Kind
		why    string
	}{
		{"empty", Signed{}, perto.KindInvalid, "not signed"},
		{"unsigned", change(func(s *Signed) { s.Signature = nil }), perto.KindInvalid, "not signed"},
		{"unknown key", mallory, perto.KindInvalid, `this node does not trust the key "mallory"`},
		{"another's name", change(func(s *Signed) { s.Signature = mallory.Signature }), perto.KindInvalid, "does not match key alice"},
		{"signature of half its length", change(func(s *Signed) { s.Signature = s.Signature[:32] }), perto.KindInvalid, "does not match key"},
		{"signature without the domain", change(func(s *Signed) { s.Signature = ed25519.Sign(alice.private, []byte(s.Release)) }), perto.KindInvalid, "does not match key"},
		{"a byte changed", change(func(s *Signed) { s.Release = strings.Replace(s.Release, "/greeting", "/greetinh", 1) }), perto.KindInvalid, "does not match key"},
		{"a space more", change(func(s *Signed) { s.Release += " " }), perto.KindInvalid, "does not match key"},
		{"too long", signAnything(strings.Repeat(" ", maxRelease) + "{}"), perto.KindInvalid, "the limit is"},
		{"not JSON", signAnything("hello"), perto.KindInvalid, "invalid character"},
		{"not UTF-8", signAnything("{\"note\":\"\xff\"}"), perto.KindInvalid, "UTF-8"},
		{"two values", signAnything(good.Release + "{}"), perto.KindInvalid, "after the JSON value"},
		{"unknown field", signAnything(`{"until":"tomorrow",` + good.Release[1:]), perto.KindInvalid, "unknown field"},
		{"version 0", release(func(r *Release) { r.Version = 0 }), perto.KindInvalid, "version 0"},
		{"last version", release(func(r *Release) { r.Version = 1 << 63 }), perto.KindInvalid, "version"},
		{"older", release(func(r *Release) { r.Version = 1 }), perto.KindConflict, "version 1 is not newer than version 2"},
		{"same version, other code", release(func(r *Release) { r.Version = 2; r.Note = "other" }), perto.KindConflict, "not newer"},
		{"too large", release(func(r *Release) { r.Bytes = 101 }), perto.KindInvalid, "the limit is 100"},
		{"no bytes", release(func(r *Release) { r.Bytes = 0 }), perto.KindInvalid, "0 bytes"},
		{"short digest", release(func(r *Release) { r.Digest = r.Digest[1:] }), perto.KindInvalid, "digest"},
		{"upper-case digest", release(func(r *Release) { r.Digest = strings.ToUpper(r.Digest) }), perto.KindInvalid, "digest"},
		{"digest leads elsewhere", release(func(r *Release) { r.Digest = "../../../../etc/passwd" }), perto.KindInvalid, "digest"},
		{"removed, with code", release(func(r *Release) { r.Removed = true }), perto.KindInvalid, "must not name code"},
		{"no service", release(func(r *Release) { r.Service = "" }), perto.KindInvalid, "is not a name of a service"},
		{"service leads elsewhere", release(func(r *Release) { r.Service = "../x" }), perto.KindInvalid, "is not a name of a service"},
		{"service not canonical", release(func(r *Release) { r.Service = "Shop.cdn.example" }), perto.KindInvalid, "is not a name of a service"},
		{"path leads elsewhere", release(func(r *Release) { r.Path = "/a/../../etc" }), perto.KindInvalid, "has a segment ."},
		{"activation", release(func(r *Release) { r.Settings.Activation = "sometimes" }), perto.KindInvalid, "sometimes"},
		{"phase", release(func(r *Release) { r.Settings.Phase = "later" }), perto.KindInvalid, "later"},
		{"placement", release(func(r *Release) { r.Settings.Placement = "moon" }), perto.KindInvalid, "moon"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, StoreConfig{Dir: dir, MaxModule: 100})
			if _, err := s.Apply(good); err != nil {
				t.Fatal(err)
			}
			before, on := shown(s), files(t, dir+"/releases")
			_, err := s.Apply(tt.signed)
			rejected(t, tt.name, err, tt.kind, tt.why)
			if shown(s) != before || files(t, dir+"/releases") != on {
				t.Errorf("it changed something: %s", shown(s))
			}
			if missing, err := s.Apply(good); err != nil || !missing {
				t.Errorf("the newest release again: got %v, %v", missing, err)
			}
		})
	}
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/*": true, "/a": true, "/a/": true, "/a/*": true, "/a.b/c-d_~/*": true, "/.perto": true, "/...": true,
		"": false, "*": false, "a": false, "//": false, "//*": false, "/a//b": false, "/a//*": false, "/./a": false, "/..": false,
		"/a/..": false, "/../*": false, "/a*": false, "/*/a": false, "/a b": false, "/a?b": false, "/a#b": false, "/a%2fb": false,
		`/a\b`: false, "/ä": false, "/a\x00": false, "/\n": false, "/" + strings.Repeat("a", maxPath): false,
	} {
		if err := checkPath(path); (err == nil) != want {
			t.Errorf("%q: got %v", path, err)
		}
	}
}

func TestPutRejects(t *testing.T) {
	wasm := module("a")
	for _, dir := range []string{"", t.TempDir()} {
		s := open(t, StoreConfig{Dir: dir, MaxModule: 100})
		apply(t, s, greeting(1, wasm))
		for _, tt := range []struct {
			name, digest string
			in           io.Reader
			kind         perto.Kind
			why          string
		}{
			{"other content", Digest(wasm), bytes.NewReader(module("b")), perto.KindInvalid, "the received module has the digest"},
			{"cut", Digest(wasm), bytes.NewReader(wasm[:4]), perto.KindInvalid, "the received module has the digest"},
			{"empty", Digest(wasm), strings.NewReader(""), perto.KindInvalid, "empty"},
			{"endless", Digest(wasm), io.MultiReader(bytes.NewReader(wasm), endless{}), perto.KindInvalid, "more than the 9 bytes"},
			{"broken off", Digest(wasm), io.MultiReader(bytes.NewReader(wasm[:4]), iotest.ErrReader(io.ErrUnexpectedEOF)), perto.KindUnavailable, "unexpected EOF"},
			{"not wanted", Digest(module("c")), bytes.NewReader(module("c")), perto.KindNotFound, "no release names it"},
			{"digest leads elsewhere", "../../evil", bytes.NewReader(wasm), perto.KindInvalid, "digest"},
			{"no digest", "", bytes.NewReader(wasm), perto.KindInvalid, "digest"},
		} {
			rejected(t, tt.name, s.Put(t.Context(), tt.digest, tt.in), tt.kind, tt.why)
		}
		ended, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("enough"))
		rejected(t, "ended", s.Put(ended, Digest(wasm), bytes.NewReader(wasm)), perto.KindUnavailable, "enough")
		if _, ok := s.Module(Digest(wasm)); ok {
			t.Error("a refused module is there")
		}
		if dir != "" && files(t, dir+"/modules") != "" {
			t.Errorf("left behind: %s", files(t, dir+"/modules"))
		}
		put(t, s, wasm)
		put(t, s, wasm) // again
		if got, ok := s.Module(Digest(wasm)); !ok || !bytes.Equal(got, wasm) {
			t.Errorf("got %q, %v", got, ok)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestReleaseWinsOverDeclaration: declared functions follow the file. Released functions
// stay as released.
func TestReleaseWinsOverDeclaration(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s := open(t, StoreConfig{Dir: dir})
		one, two := module("one"), module("two")
		declare := func(list ...Declared) {
			t.Helper()
			if err := s.Declare(list); err != nil {
				t.Fatal(err)
			}
		}
		want := func(lines string) {
			t.Helper()
			if got := shown(s); got != lines {
				t.Errorf("got\n%swant\n%s", got, lines)
			}
		}
		line := func(path string, version int, wasm []byte, by string, present bool) string {
			return fmt.Sprintf("shop.cdn.example%s %d %.8s %s %v\n", path, version, Digest(wasm), by, present)
		}
		file := Declared{Service: "shop.cdn.example", Path: "/greeting", Module: one}
		pinned := Declared{Service: "shop.cdn.example", Path: "/pinned", Digest: Digest(two)}
		declare(pinned, file)
		want(line("/greeting", 0, one, " world", true) + line("/pinned", 0, two, " world", false))
		put(t, s, two)
		want(line("/greeting", 0, one, " world", true) + line("/pinned", 0, two, " world", true))
		declare(file)
		want(line("/greeting", 0, one, " world", true))
		if _, ok := s.Module(Digest(two)); ok {
			t.Error("a module that nothing names is still there")
		}
		if missing := apply(t, s, greeting(1, two)); !missing {
			t.Error("a module that is not there is not missing")
		}
		want(line("/greeting", 1, two, "alice pushed", false))
		put(t, s, two)
		want(line("/greeting", 1, two, "alice pushed", true))
		// A release of the file's code keeps that code when the file no longer names it.
		if missing := apply(t, s, greeting(2, one)); missing {
			t.Error("a module that the file has is missing")
		}
		declare()
		want(line("/greeting", 2, one, "alice pushed", true))
		apply(t, s, Release{Service: "shop.cdn.example", Path: "/greeting", Version: 3, Removed: true})
		declare(file)
		want("")
		apply(t, s, greeting(4, one))
		want(line("/greeting", 4, one, "alice pushed", true))
	}
}

func TestDeclareRejects(t *testing.T) {
	s := open(t, StoreConfig{MaxModule: 100})
	good := Declared{Service: "a.example", Path: "/", Module: module("")}
	if err := s.Declare([]Declared{good}); err != nil {
		t.Fatal(err)
	}
	before := shown(s)
	for why, d := range map[string]Declared{
		"declared twice": good,
		"has the digest": {Service: "a.example", Path: "/b", Digest: Digest([]byte("x")), Module: module("")},
		"digest":         {Service: "a.example", Path: "/b"},
		"begin with /":   {Service: "a.example", Path: "b", Module: module("")},
		"the limit is":   {Service: "a.example", Path: "/b", Module: make([]byte, 101)},
		"moon":           {Service: "a.example", Path: "/b", Module: module(""), Settings: Settings{Placement: "moon"}},
	} {
		rejected(t, why, s.Declare([]Declared{good, d}), perto.KindInvalid, why)
		if shown(s) != before {
			t.Errorf("%s: it changed something", why)
		}
	}
}

func TestStoreKeepsLimitedReleases(t *testing.T) {
	dir := t.TempDir()
	s := open(t, StoreConfig{Dir: dir, Keep: 3})
	for v := range uint64(6) {
		wasm := module(fmt.Sprint(v))
		apply(t, s, greeting(v+1, wasm))
		put(t, s, wasm)
	}
	var versions []uint64
	for _, r := range s.History("shop.cdn.example", "/greeting") {
		versions = append(versions, r.Version)
		if _, ok := s.Module(r.Digest); !ok {
			t.Errorf("the module of version %d is gone", r.Version)
		}
	}
	if fmt.Sprint(versions) != "[6 5 4]" {
		t.Errorf("got %v", versions)
	}
	if n := len(strings.Fields(files(t, dir+"/modules"))); n != 3 {
		t.Errorf("%d modules are kept", n)
	}
	// A rollback is a new release, and no module is sent.
	back := greeting(7, module("3"))
	back.Note = "rollback to version 4"
	if missing := apply(t, s, back); missing {
		t.Error("the older module is missing")
	}
}

// TestReopen: a Store keeps its content over a restart, also with files that a crash left.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	var logged bytes.Buffer
	cfg := StoreConfig{Dir: dir, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
	s := open(t, cfg)
	wasm := module("a")
	apply(t, s, greeting(1, wasm))
	put(t, s, wasm)
	apply(t, s, greeting(2, module("never came")))
	other := greeting(5, wasm)
	other.Path = "/other/*"
	apply(t, s, other)
	before := shown(s)

	// A crash within Apply or Put leaves temporary files.
	for _, name := range []string{"modules/.new-123", "releases/.new-9"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Files of other programs are ignored.
	for _, name := range []string{"modules/README", "modules/short.wasm"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, cfg)
	if got := shown(s); got != before {
		t.Errorf("got\n%swant\n%s", got, before)
	}
	if strings.Contains(files(t, dir+"/modules")+files(t, dir+"/releases"), ".new-") {
		t.Error("half-written files are still there")
	}
	if got := s.History("shop.cdn.example", "/greeting"); len(got) != 2 || got[0].Version != 2 || got[1].Settings.KV["a"] != "<1>" {
		t.Errorf("history: %+v", got)
	}
	if _, err := s.Apply(sign(t, greeting(1, wasm))); err == nil {
		t.Error("an older release was taken after a restart")
	}
	if logged.Len() != 0 {
		t.Errorf("logged %s", logged.String())
	}

	// A crash between a release and the removal of older modules leaves unused modules.
	orphan := module("orphan")
	if err := os.WriteFile(filepath.Join(dir, "modules", Digest(orphan)+".wasm"), orphan, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg)
	apply(t, s, greeting(3, wasm))
	if names := files(t, dir+"/modules"); strings.Contains(names, Digest(orphan)) || !strings.Contains(names, Digest(wasm)) {
		t.Errorf("modules: %s", names)
	}
}

// TestDocumentedRelease: the example of the documentation is valid.
func TestDocumentedRelease(t *testing.T) {
	page, err := os.ReadFile("../docs/formats/release.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```json\n")
	text, _, _ = strings.Cut(text, "```")
	if r, err := ParseRelease(text); err != nil || r.Version != 3 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestDamage: a damaged file costs only its own content.
func TestDamage(t *testing.T) {
	wasm := module("a")
	releases := "releases/" + function{"shop.cdn.example", "/greeting"}.file() + ".json"
	modules := "modules/" + Digest(wasm) + ".wasm"
	for _, tt := range []struct {
		name, file string
		damage     func([]byte) []byte
	}{
		{"a bit", releases, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{"cut", releases, func(b []byte) []byte { return b[:len(b)-7] }},
		{"empty", releases, func(b []byte) []byte { return nil }},
		{"a module's bit", modules, func(b []byte) []byte { b[3] ^= 1; return b }},
		{"a longer module", modules, func(b []byte) []byte { return append(b, 0) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			var logged bytes.Buffer
			cfg := StoreConfig{Dir: dir, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
			s := open(t, cfg)
			apply(t, s, greeting(1, wasm))
			other := greeting(5, module("b"))
			other.Path = "/other"
			apply(t, s, other)
			put(t, s, wasm)
			put(t, s, module("b"))
			path := filepath.Join(dir, tt.file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, tt.damage(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s = open(t, cfg)
			_, ok := s.Module(Digest(wasm))
			if ok != (tt.file == releases) {
				t.Errorf("the module is there: %v", ok)
			}
			if _, ok := s.Module(Digest(module("b"))); !ok || !strings.Contains(shown(s), "/other 5") {
				t.Errorf("the other function suffered: %s", shown(s))
			}
			if !strings.Contains(logged.String(), "damaged") {
				t.Errorf("logged %q", logged.String())
			}
			if _, err := os.Stat(path + damagedAfter); err != nil {
				t.Error(err)
			}
			// It can be applied again.
			apply(t, s, greeting(1, wasm))
			put(t, s, wasm)
			if got, ok := open(t, cfg).Module(Digest(wasm)); !ok || !bytes.Equal(got, wasm) {
				t.Error("the module did not come again")
			}
		})
	}
	t.Run("file of another function", func(t *testing.T) {
		dir := t.TempDir()
		apply(t, open(t, StoreConfig{Dir: dir}), greeting(1, wasm))
		if err := os.Rename(filepath.Join(dir, releases), filepath.Join(dir, "releases", Digest(nil)+".json")); err != nil {
			t.Fatal(err)
		}
		if got := shown(open(t, StoreConfig{Dir: dir})); got != "" {
			t.Errorf("got %s", got)
		}
	})
}

// TestEffectsAreDurable: without a writable disk, nothing takes effect.
func TestEffectsAreDurable(t *testing.T) {
	dir := t.TempDir()
	s := open(t, StoreConfig{Dir: dir})
	apply(t, s, greeting(1, module("a")))
	before := shown(s)
	for _, sub := range []string{"modules", "releases"} {
		if err := os.Rename(filepath.Join(dir, sub), filepath.Join(dir, sub+".gone")); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Apply(sign(t, greeting(2, module("b"))))
	rejected(t, "apply", err, perto.KindUnavailable, "no such file")
	rejected(t, "put", s.Put(t.Context(), Digest(module("a")), bytes.NewReader(module("a"))), perto.KindUnavailable, "no such file")
	if shown(s) != before {
		t.Errorf("got %s", shown(s))
	}
}

func TestSetTrust(t *testing.T) {
	dir := t.TempDir()
	bob := key("bob")
	both := []PublicKey{alice.Public(), bob.Public()}
	s := open(t, StoreConfig{Dir: dir, Trust: both})
	apply(t, s, greeting(1, module("a")))
	stolen, err := Sign(bob, greeting(1000, module("evil")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(stolen); err != nil {
		t.Fatal(err)
	}
	version := func(s *Store) uint64 { return (*s.Desired().Load())[0].Version }
	only := func(s *Store) *Store { s.SetTrust([]PublicKey{alice.Public()}); return s }
	for name, s := range map[string]*Store{"at run time": only(s), "at start": open(t, StoreConfig{Dir: dir, Trust: []PublicKey{alice.Public()}})} {
		if version(s) != 1 || len(s.History("shop.cdn.example", "/greeting")) != 1 {
			t.Errorf("%s: version %d", name, version(s))
		}
		s.SetTrust(both)
		if version(s) != 1000 {
			t.Errorf("%s: trusted again: version %d", name, version(s))
		}
	}
	// The next trusted release replaces the untrusted one.
	only(s)
	apply(t, s, greeting(2, module("a")))
	s = open(t, StoreConfig{Dir: dir, Trust: both})
	if version(s) != 2 {
		t.Errorf("got version %d", version(s))
	}
}

// TestDesiredIsHighestVersion: in any order of releases, with restarts between them.
func TestDesiredIsHighestVersion(t *testing.T) {
	var signed []Signed
	for v := range uint64(12) {
		signed = append(signed, sign(t, greeting(v+1, module(fmt.Sprint(v%3)))))
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		cfg := StoreConfig{Dir: dir, Keep: 2, Trust: []PublicKey{alice.Public()}}
		s := open(t, cfg)
		highest := 0
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			v := rapid.IntRange(0, len(signed)).Draw(rt, "version") // 0 restarts the Store
			if v == 0 {
				s = open(t, cfg)
			} else {
				_, err := s.Apply(signed[v-1])
				if (err == nil) != (v >= highest) {
					rt.Fatalf("version %d after %d: %v", v, highest, err)
				}
				highest = max(highest, v)
			}
			got := 0
			for _, f := range *s.Desired().Load() {
				got = int(f.Version)
			}
			if got != highest {
				rt.Fatalf("desired is version %d, the highest seen %d", got, highest)
			}
		}
	})
}

// TestParallel: many concurrent releases of one function. Readers never see a version
// go back.
func TestParallel(t *testing.T) {
	s := open(t, StoreConfig{Dir: t.TempDir(), Keep: 4})
	const versions = 20
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		last := uint64(0)
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, f := range *s.Desired().Load() {
				if f.Source == FromWorld {
					continue
				}
				if f.Version < last {
					t.Errorf("version %d came after %d", f.Version, last)
					return
				}
				last = f.Version
			}
			s.History("shop.cdn.example", "/greeting")
		}
	})
	var writers sync.WaitGroup
	for v := range uint64(versions) {
		writers.Go(func() {
			wasm := module(fmt.Sprint(v))
			if v%5 == 0 {
				if err := s.Declare([]Declared{{Service: "b.example", Path: "/", Module: wasm}}); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.Apply(sign(t, greeting(v+1, wasm))); err != nil {
				return // a newer one came first
			}
			for range 3 {
				writers.Go(func() {
					err := s.Put(t.Context(), Digest(wasm), bytes.NewReader(wasm))
					if e, ok := errors.AsType[*perto.Error](err); err != nil && (!ok || e.Kind != perto.KindNotFound) {
						t.Error(err)
					}
					if got, ok := s.Module(Digest(wasm)); ok && !bytes.Equal(got, wasm) {
						t.Error("a module is not itself")
					}
				})
			}
		})
	}
	writers.Wait()
	close(done)
	wg.Wait()
	if f := (*s.Desired().Load())[1]; f.Version != versions || !f.Present {
		t.Errorf("got %+v", f)
	}
}

func TestDesiredWakes(t *testing.T) {
	s := open(t, StoreConfig{})
	_, version := s.Desired().LoadVersion()
	go func() {
		apply(t, s, greeting(1, module("a")))
		put(t, s, module("a"))
	}()
	for {
		list, now, err := s.Desired().Wait(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		if version = now; (*list)[0].Present {
			return
		}
	}
}

func TestSigningKeyHidesSecret(t *testing.T) {
	k, err := NewSigningKey("ci@example.org")
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseSigningKey([]byte("# the key of CI\n\n" + k.File()))
	if err != nil || !again.private.Equal(k.private) || again.Name != k.Name {
		t.Fatalf("got %v, %v", again, err)
	}
	public, err := ParsePublicKey(k.Public().String())
	if err != nil || !public.Key.Equal(k.Public().Key) || public.Name != k.Name {
		t.Fatalf("got %v, %v", public, err)
	}
	seed := base64.StdEncoding.EncodeToString(k.private.Seed())
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "key", k)
	text := logged.String() + fmt.Sprintf("%v %+v %#v %s %x %d %q", k, k, k, k, k, k, &k)
	if js, err := json.Marshal(k); err == nil {
		text += string(js)
	}
	if strings.Contains(text, seed) || strings.Contains(text, fmt.Sprintf("%x", k.private.Seed())) || strings.Contains(text, fmt.Sprint(k.private[0], k.private[1])) {
		t.Errorf("the secret is in %s", text)
	}
	for _, bad := range []string{"", seed, "perto-sign-1 " + seed, "perto-sign-1 " + seed + " ci", "perto-sign-1 ci " + seed + "=", "perto-sign-1 ci " + seed[:40],
		"perto-key-1 ci " + seed, "perto-sign-1 c:i " + seed, k.File() + k.File()} {
		if got, err := ParseSigningKey([]byte(bad)); err == nil || strings.Contains(err.Error(), seed[:20]) {
			t.Errorf("%q: got %v, %v", bad, got, err)
		}
		if got, err := ParsePublicKey(bad); err == nil || strings.Contains(err.Error(), seed[:20]) {
			t.Errorf("%q: got %v, %v", bad, got, err)
		}
	}
	path := filepath.Join(t.TempDir(), "sign.key")
	if _, err := LoadSigningKey(path); err == nil {
		t.Error("a key came from nowhere")
	}
	if err := os.WriteFile(path, []byte(k.File()), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadSigningKey(path); err != nil || got.Name != k.Name {
		t.Errorf("got %v, %v", got, err)
	}
}
