package mobility

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"perto"
	"perto/internal/snapshot"
)

// Bounds of a Store.
const (
	defaultMaxModule = 32 << 20 // bytes; the same as in functions.Limits
	defaultKeep      = 10       // releases of a function
	maxKeep          = 100
	maxFunctions     = 4096 // functions with releases
)

// StoreConfig configures a Store.
type StoreConfig struct {
	Dir       string       // "": memory only, nothing survives a restart
	Trust     []PublicKey  // releases of these keys take effect
	MaxModule int64        // largest module, in bytes; default 32 MiB
	Keep      int          // releases kept of each function; default 10, at most 100
	Logger    *slog.Logger // nil: no logs
}

// Store holds the releases and modules of one node.
//
// Invariant: Desired shows a release only after it is on the disk. It shows the highest
// version that a trusted key has signed.
type Store struct {
	dir       string
	maxModule int64
	keep      int
	log       *slog.Logger
	desired   snapshot.Var[[]Function]

	mu       sync.Mutex
	trust    []PublicKey
	released map[function][]release // newest first; never empty
	declared map[function]Declared
	inline   map[string][]byte // modules of declarations, by digest
	modules  map[string][]byte // other modules that are here, by digest; nil: on the disk
}

// function is the name of a function.
type function struct {
	service perto.Service
	path    string
}

func (f function) compare(g function) int {
	return cmp.Or(cmp.Compare(f.service, g.service), cmp.Compare(f.path, g.path))
}

// release is a kept release. When its key is not trusted, it has no effect, until the
// key is trusted or a trusted release replaces it.
type release struct {
	Signed
	r       Release
	trusted bool
}

// Values of Function.Source. A release wins over the World's file.
const (
	FromWorld   = "world"
	FromRelease = "pushed"
)

// Function is a function that should run: the newest decision about it.
type Function struct {
	Service  perto.Service `json:"service"`
	Path     string        `json:"path"`
	Version  uint64        `json:"version"` // 0 when it is from the World's file
	Digest   string        `json:"digest"`
	Bytes    int64         `json:"bytes,omitempty"` // 0 when it is unknown
	Settings Settings      `json:"settings,omitzero"`
	Signer   string        `json:"signer,omitempty"` // name of the key; "" when it is from the World's file
	Source   string        `json:"source"`           // FromWorld or FromRelease
	Present  bool          `json:"present"`          // the module is in the Store
}

// Declared is a function of the World's file. The file belongs to the operator and needs
// no signature.
type Declared struct {
	Service  perto.Service
	Path     string
	Settings Settings
	Digest   string // "": computed from Module
	Module   []byte // nil: only the digest is known, and the module comes later
}

// OpenStore opens a folder and reads the stored releases and modules. It sets a damaged
// file aside and logs it. Such a file costs one function or module, not the start.
func OpenStore(cfg StoreConfig) (*Store, error) {
	if cfg.MaxModule <= 0 {
		cfg.MaxModule = defaultMaxModule
	}
	if cfg.Keep <= 0 {
		cfg.Keep = defaultKeep
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: cfg.Dir, maxModule: cfg.MaxModule, keep: min(cfg.Keep, maxKeep), log: cfg.Logger, trust: slices.Clone(cfg.Trust),
		released: make(map[function][]release), modules: make(map[string][]byte)}
	if s.dir != "" {
		err := s.loadModules()
		if err == nil {
			err = s.loadReleases()
		}
		if err != nil {
			return nil, &perto.Error{Op: "open function store", Path: s.dir, Kind: perto.KindUnavailable, Err: err}
		}
	}
	s.publish()
	return s, nil
}

// Desired returns the functions that should run, sorted by service and path. A new value
// comes with each change, also when a module arrives. Values must not be changed.
func (s *Store) Desired() *snapshot.Var[[]Function] { return &s.desired }

// History returns the kept releases of a function with trusted keys, newest first.
func (s *Store) History(service perto.Service, path string) []Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Release
	for _, k := range s.released[function{service, path}] {
		if k.trusted {
			out = append(out, k.r)
		}
	}
	return out
}

// Apply accepts a release. When it returns without error, the release is durable. missing
// reports whether its module is not here yet. Applying the newest release again is no
// error. An older one is rejected (KindConflict).
func (s *Store) Apply(signed Signed) (missing bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := signed.Verify(s.trust)
	if err != nil {
		return false, err
	}
	fail := func(kind perto.Kind, hint, format string, args ...any) (bool, error) {
		return false, &perto.Error{Op: "apply release", Path: r.name(), Kind: kind, Err: fmt.Errorf(format, args...), Hint: hint}
	}
	if r.Bytes > s.maxModule {
		return fail(perto.KindInvalid, "", "its module has %d bytes; the limit is %d", r.Bytes, s.maxModule)
	}
	f := function{r.Service, r.Path}
	kept := slices.DeleteFunc(slices.Clone(s.released[f]), func(k release) bool { return !k.trusted })
	if len(kept) > 0 {
		newest := kept[0]
		switch {
		case newest.Release == signed.Release:
			return s.missing(r), nil
		case r.Version <= newest.r.Version:
			return fail(perto.KindConflict, fmt.Sprintf("use version %d, also for a rollback to older code", newest.r.Version+1),
				"version %d is not newer than version %d, which is here", r.Version, newest.r.Version)
		}
	} else if s.released[f] == nil && len(s.released) >= maxFunctions {
		return fail(perto.KindUnavailable, "", "this node has the maximum of %d released functions", maxFunctions)
	}
	kept = slices.Insert(kept, 0, release{Signed: signed, r: r, trusted: true})
	kept = kept[:min(len(kept), s.keep)]
	if err := s.writeReleases(f, kept); err != nil {
		return fail(perto.KindUnavailable, "", "%w", err)
	}
	s.released[f] = kept
	s.settle()
	return s.missing(r), nil
}

// missing reports whether the Store lacks the module of a release.
func (s *Store) missing(r Release) bool { return !r.Removed && !s.has(r.Digest) }

// Declare replaces all functions of the World's file. Functions that are no longer
// declared disappear, unless a release names them. Call it before the first Apply. When
// it fails, nothing changes.
func (s *Store) Declare(all []Declared) error {
	declared, inline := make(map[function]Declared), make(map[string][]byte)
	for _, d := range all {
		fail := func(err error) error {
			return &perto.Error{Op: "declare function", Path: string(d.Service) + d.Path, Kind: perto.KindInvalid, Err: err}
		}
		if d.Module != nil {
			digest := Digest(d.Module)
			if d.Digest != "" && d.Digest != digest {
				return fail(fmt.Errorf("its module has the digest %s instead of %s", digest, d.Digest))
			}
			d.Digest = digest
			inline[digest] = d.Module
		}
		err := errors.Join(checkFunction(d.Service, d.Path), checkDigest(d.Digest), d.Settings.check())
		if err == nil && int64(len(d.Module)) > s.maxModule {
			err = fmt.Errorf("its module has %d bytes; the limit is %d", len(d.Module), s.maxModule)
		}
		if err != nil {
			return fail(err)
		}
		f := function{d.Service, d.Path}
		if _, twice := declared[f]; twice {
			return fail(errors.New("it is declared twice"))
		}
		declared[f] = d
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.declared, s.inline = declared, inline
	s.settle()
	return nil
}

// SetTrust replaces the trusted keys. Releases of keys that are no longer trusted lose
// their effect.
func (s *Store) SetTrust(trust []PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trust = slices.Clone(trust)
	for _, kept := range s.released {
		for i := range kept {
			kept[i].trusted = kept[i].checkSignature(s.trust) == nil
		}
	}
	s.publish()
}

// settle updates modules and Desired after a change of releases or declarations.
func (s *Store) settle() {
	s.adopt()
	s.collect()
	s.publish()
}

// publish updates Desired.
func (s *Store) publish() {
	wanted := make(map[function]Function)
	for f, d := range s.declared {
		wanted[f] = Function{Service: f.service, Path: f.path, Digest: d.Digest, Bytes: int64(len(d.Module)), Settings: d.Settings, Source: FromWorld}
	}
	for f, kept := range s.released {
		i := slices.IndexFunc(kept, func(k release) bool { return k.trusted })
		if i < 0 {
			continue
		}
		k := kept[i]
		if delete(wanted, f); k.r.Removed {
			continue
		}
		wanted[f] = Function{Service: f.service, Path: f.path, Version: k.r.Version, Digest: k.r.Digest, Bytes: k.r.Bytes,
			Settings: k.r.Settings, Signer: k.Key, Source: FromRelease}
	}
	list := make([]Function, 0, len(wanted))
	for _, f := range slices.SortedFunc(maps.Keys(wanted), function.compare) {
		w := wanted[f]
		w.Present = s.has(w.Digest)
		list = append(list, w)
	}
	s.desired.Store(&list)
}

func (s *Store) path(dir, name, ext string) string { return filepath.Join(s.dir, dir, name+ext) }
