package mobility

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"perto"
	"perto/internal/atomicfile"
)

// has reports whether the Store has a module.
func (s *Store) has(digest string) bool {
	_, stored := s.modules[digest]
	_, inline := s.inline[digest]
	return stored || inline
}

// Wants reports whether a kept release or a declaration names a module, and the most
// bytes that it may have.
func (s *Store) Wants(digest string) (maxBytes int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wants(digest)
}

func (s *Store) wants(digest string) (maxBytes int64, ok bool) {
	if digest == "" {
		return 0, false
	}
	for _, d := range s.declared {
		if d.Digest == digest {
			return s.maxModule, true
		}
	}
	for _, kept := range s.released {
		for _, k := range kept {
			if k.r.Digest == digest {
				maxBytes, ok = max(maxBytes, k.r.Bytes), true
			}
		}
	}
	return min(maxBytes, s.maxModule), ok
}

// Module returns a module that the Store has. The caller must not change its bytes.
func (s *Store) Module(digest string) ([]byte, bool) {
	s.mu.Lock()
	wasm, inline := s.inline[digest]
	if !inline {
		var stored bool
		if wasm, stored = s.modules[digest]; !stored {
			s.mu.Unlock()
			return nil, false
		}
	}
	s.mu.Unlock()
	if wasm != nil {
		return wasm, true
	}
	if wasm, err := s.readModule(digest); err == nil {
		return wasm, true
	}
	// The file is damaged, or was removed in the meantime.
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, stored := s.modules[digest]; !stored {
		return nil, false
	}
	wasm, err := s.readModule(digest)
	if err == nil {
		return wasm, true
	}
	file := s.path(modulesDir, digest, moduleExt)
	s.log.Error("a damaged module was set aside", "file", file, "err", err)
	if err := setAside(file); err != nil {
		s.log.Error("cannot set a damaged module aside", "file", file, "err", err)
	}
	delete(s.modules, digest)
	s.publish()
	return nil, false
}

// readModule reads a module from the disk.
func (s *Store) readModule(digest string) ([]byte, error) {
	wasm, err := readFile(s.path(modulesDir, digest, moduleExt), s.maxModule)
	if err == nil && Digest(wasm) != digest {
		err = errors.New("its digest differs")
	}
	return wasm, err
}

// Put stores a module that a release or a declaration names. It reads no more bytes than
// the release allows, and rejects a module with another digest.
func (s *Store) Put(ctx context.Context, digest string, in io.Reader) error {
	fail := func(kind perto.Kind, hint, format string, args ...any) error {
		return &perto.Error{Op: "store module", Path: digest, Kind: kind, Err: fmt.Errorf(format, args...), Hint: hint}
	}
	if err := checkDigest(digest); err != nil {
		return &perto.Error{Op: "store module", Kind: perto.KindInvalid, Err: err}
	}
	s.mu.Lock()
	limit, wanted := s.wants(digest)
	here := s.has(digest)
	s.mu.Unlock()
	switch {
	case !wanted:
		return fail(perto.KindNotFound, "apply the release first", "no release names it")
	case here:
		return nil
	}
	var body bytes.Buffer
	var file *os.File
	to := io.Writer(&body)
	if s.dir != "" {
		var err error
		if file, err = atomicfile.New(s.path(modulesDir, "", "")); err != nil {
			return fail(perto.KindUnavailable, "", "%w", err)
		}
		defer atomicfile.Abandon(file) // does nothing after commit
		to = file
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, sum), io.LimitReader(contextReader{ctx, in}, limit+1))
	got := hex.EncodeToString(sum.Sum(nil))
	switch {
	case err != nil:
		return fail(perto.KindUnavailable, "", "%w", err)
	case n == 0:
		return fail(perto.KindInvalid, "", "it is empty")
	case n > limit:
		return fail(perto.KindInvalid, "", "it has more than the %d bytes that its release allows", limit)
	case got != digest:
		return fail(perto.KindInvalid, "it was changed or cut in transit", "the received module has the digest %s", got)
	}
	if file != nil {
		if err := file.Sync(); err != nil { // sync before the lock is taken
			return fail(perto.KindUnavailable, "", "%w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, wanted := s.wants(digest); !wanted {
		return fail(perto.KindNotFound, "", "no release names it now")
	}
	if s.has(digest) {
		return nil
	}
	if file == nil {
		s.modules[digest] = body.Bytes()
	} else {
		if err := atomicfile.Commit(file, s.path(modulesDir, digest, moduleExt)); err != nil {
			return fail(perto.KindUnavailable, "", "%w", err)
		}
		s.modules[digest] = nil
	}
	s.publish()
	return nil
}

// contextReader returns an error when its context ends.
type contextReader struct {
	ctx context.Context
	in  io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.in.Read(p)
}

// loadModules lists the stored modules. Each is checked when it is read.
func (s *Store) loadModules() error {
	names, err := listFiles(s.path(modulesDir, "", ""), moduleExt)
	if err != nil {
		return err
	}
	for _, name := range names {
		if checkDigest(name) == nil {
			s.modules[name] = nil
		}
	}
	return nil
}

// adopt stores the modules of declarations that a release names too. The release needs
// them when the declaration changes.
func (s *Store) adopt() {
	for _, kept := range s.released {
		for _, k := range kept {
			wasm, inline := s.inline[k.r.Digest]
			if _, stored := s.modules[k.r.Digest]; !inline || stored {
				continue
			}
			if s.dir == "" {
				s.modules[k.r.Digest] = wasm
				continue
			}
			if err := atomicfile.Write(s.path(modulesDir, k.r.Digest, moduleExt), wasm, 0o600); err != nil {
				s.log.Error("cannot store the module of a release", "function", k.r.name(), "version", k.r.Version, "err", err)
				continue
			}
			s.modules[k.r.Digest] = nil
		}
	}
}

// collect removes modules that no release and no declaration names.
func (s *Store) collect() {
	named := make(map[string]bool)
	for _, d := range s.declared {
		named[d.Digest] = true
	}
	for _, kept := range s.released {
		for _, k := range kept {
			named[k.r.Digest] = true
		}
	}
	for digest := range s.modules {
		if named[digest] {
			continue
		}
		if s.dir != "" {
			if err := os.Remove(s.path(modulesDir, digest, moduleExt)); err != nil {
				s.log.Warn("cannot remove an unused module", "digest", digest, "err", err)
			}
		}
		delete(s.modules, digest)
	}
}
