package mobility

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"perto"
	"perto/functions"
)

// Limits of a release.
const (
	maxRelease = 64 << 10  // its JSON, in bytes
	maxPath    = 512       // bytes
	maxService = 253       // bytes of a DNS name (RFC 1035, section 2.3.4, as text)
	maxVersion = 1<<53 - 1 // largest integer that JSON numbers hold exactly (RFC 8259, section 6)
)

// Release is the decision which code handles a path of a service.
type Release struct {
	Service perto.Service `json:"service"`
	Path    string        `json:"path"` // "/greeting", or "/thumb/*" for all paths below
	// Version grows with every release of the function. A rollback is a new release
	// of older code.
	Version uint64 `json:"version"`
	// Removed removes the function, also one from the configuration. The release then
	// names no code.
	Removed  bool      `json:"removed,omitempty"`
	Digest   string    `json:"digest,omitempty"` // SHA-256 of the module, in hexadecimal
	Bytes    int64     `json:"bytes,omitempty"`  // largest size of the module
	Settings Settings  `json:"settings,omitzero"`
	Note     string    `json:"note,omitempty"` // for people: "rollback to version 3"
	Time     time.Time `json:"time"`
}

// Settings are the settings of a function. The node chooses a value for empty fields.
type Settings struct {
	Activation string            `json:"activation,omitempty"` // of package functions: "pooled"
	Phase      string            `json:"phase,omitempty"`      // "client": before the cache; "origin": behind it
	Placement  string            `json:"placement,omitempty"`  // "edge" or "origin"
	Config     string            `json:"config,omitempty"`     // get_config returns it
	KV         map[string]string `json:"kv,omitempty"`

	Wall        perto.Millis `json:"wall_ms,omitempty"`      // time limit of a request
	Memory      uint64       `json:"memory_bytes,omitempty"` // of an instance
	Subrequests int          `json:"subrequests,omitempty"`  // of a request
}

// Digest returns the name of a module: its SHA-256 in hexadecimal.
func Digest(wasm []byte) string {
	sum := sha256.Sum256(wasm)
	return hex.EncodeToString(sum[:])
}

// check returns an error for an invalid release.
func (r *Release) check() error {
	if err := checkFunction(r.Service, r.Path); err != nil {
		return err
	}
	if r.Version == 0 || r.Version > maxVersion {
		return fmt.Errorf("version %d is not between 1 and %d", r.Version, uint64(maxVersion))
	}
	if r.Removed {
		if r.Digest != "" || r.Bytes != 0 {
			return errors.New("a release that removes the function must not name code")
		}
		return nil
	}
	if err := checkDigest(r.Digest); err != nil {
		return err
	}
	if r.Bytes <= 0 {
		return fmt.Errorf("invalid module size: %d bytes", r.Bytes)
	}
	return r.Settings.check()
}

func (s *Settings) check() error {
	if s.Activation != "" {
		if _, err := functions.ParseActivation(s.Activation); err != nil {
			return err
		}
	}
	switch s.Phase {
	case "", "client", "origin":
	default:
		return fmt.Errorf("unknown phase %q; use client or origin", s.Phase)
	}
	switch s.Placement {
	case "", "edge", "origin":
	default:
		return fmt.Errorf("unknown placement %q; use edge or origin", s.Placement)
	}
	if s.Wall < 0 || s.Subrequests < 0 {
		return errors.New("a limit is negative")
	}
	return nil
}

// checkFunction checks the name of a function: a service and a path.
func checkFunction(service perto.Service, path string) error {
	if !validService(string(service)) {
		return fmt.Errorf("%q is not a name of a service", service)
	}
	return checkPath(path)
}

func validService(name string) bool {
	if name == "" || len(name) > maxService || perto.CanonicalName(name) != name {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if !alphanumeric(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// checkPath accepts only paths that all URL parsers read alike: without escapes, empty
// segments, "." and "..".
func checkPath(path string) error {
	bad := func(why string) error { return fmt.Errorf("path %.100q %s", path, why) }
	if len(path) > maxPath {
		return bad(fmt.Sprintf("is longer than %d bytes", maxPath))
	}
	if path == "/*" {
		return nil
	}
	above, below := strings.CutSuffix(path, "/*")
	rest, ok := strings.CutPrefix(above, "/")
	if !ok {
		return bad("does not begin with /")
	}
	segments := strings.Split(rest, "/")
	for i, segment := range segments {
		switch {
		case segment == "" && (below || i < len(segments)-1): // "/" and "/a/" are valid
			return bad("has an empty segment")
		case segment == "." || segment == "..":
			return bad("has a segment . or ..")
		}
		for _, c := range []byte(segment) {
			if !alphanumeric(c) && !strings.ContainsRune("-._~!$&'()+,;=:@", rune(c)) {
				return bad(fmt.Sprintf("has a %q", c))
			}
		}
	}
	return nil
}

func checkDigest(digest string) error {
	if len(digest) == 2*sha256.Size && strings.Trim(digest, "0123456789abcdef") == "" {
		return nil
	}
	return fmt.Errorf("digest %.80q is not %d digits of lower-case hexadecimal", digest, 2*sha256.Size)
}

// ParseRelease reads a release's JSON. It rejects unknown fields, because they could
// change the meaning of the others.
func ParseRelease(text string) (Release, error) {
	var r Release
	if len(text) > maxRelease {
		return r, fmt.Errorf("it has %d bytes; the limit is %d", len(text), maxRelease)
	}
	if !utf8.ValidString(text) {
		return r, errors.New("not UTF-8")
	}
	if err := decodeStrictly(strings.NewReader(text), &r); err != nil {
		return r, err
	}
	return r, r.check()
}

// decodeStrictly reads one JSON value with known fields only, up to the end of in.
func decodeStrictly(in io.Reader, out any) error {
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	if err := d.Decode(out); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there are bytes after the JSON value")
	}
	return nil
}

// signDomain begins the signed bytes, so that a signature for another purpose is never
// valid for a release.
const signDomain = "perto function release 1\n"

// Signed is a release with its signature, as it is sent and stored.
type Signed struct {
	Release   string `json:"release"`   // the exact JSON that is signed
	Key       string `json:"key"`       // name of the key
	Signature []byte `json:"signature"` // ed25519, of signDomain and Release
}

// Sign signs a release.
func Sign(k SigningKey, r Release) (Signed, error) {
	fail := func(err error) (Signed, error) {
		return Signed{}, &perto.Error{Op: "sign release", Path: r.name(), Kind: perto.KindInvalid, Err: err}
	}
	if k.private == nil {
		return fail(errors.New("no signing key"))
	}
	text, err := json.Marshal(r)
	if err == nil {
		_, err = ParseRelease(string(text)) // do not sign a release that would be rejected
	}
	if err != nil {
		return fail(err)
	}
	return Signed{Release: string(text), Key: k.Name, Signature: ed25519.Sign(k.private, signed(string(text)))}, nil
}

func signed(release string) []byte { return append([]byte(signDomain), release...) }

// Verify returns the release when one of the trusted keys has signed it. It parses the
// release only after that.
func (s Signed) Verify(trust []PublicKey) (Release, error) {
	if err := s.checkSignature(trust); err != nil {
		return Release{}, err
	}
	r, err := ParseRelease(s.Release)
	if err != nil {
		return Release{}, &perto.Error{Op: "read release", Kind: perto.KindInvalid, Err: err}
	}
	return r, nil
}

func (s Signed) checkSignature(trust []PublicKey) error {
	fail := func(hint, format string, args ...any) error {
		return &perto.Error{Op: "verify release", Kind: perto.KindInvalid, Err: fmt.Errorf(format, args...), Hint: hint}
	}
	switch {
	case s.Key == "" || len(s.Signature) == 0:
		return fail("sign it with a key of the trust list", "it is not signed")
	case len(s.Release) > maxRelease:
		return fail("", "it has %d bytes; the limit is %d", len(s.Release), maxRelease)
	}
	known := false
	for _, k := range trust {
		if k.Name != s.Key || len(k.Key) != ed25519.PublicKeySize {
			continue
		}
		known = true
		if ed25519.Verify(k.Key, signed(s.Release), s.Signature) {
			return nil
		}
	}
	if !known {
		return fail("add its public key to the trust list of the node", "this node does not trust the key %.80q", s.Key)
	}
	return fail("the release was changed in transit, or another key has the same name", "the signature does not match key %s", s.Key)
}

func (r *Release) name() string { return string(r.Service) + r.Path }
