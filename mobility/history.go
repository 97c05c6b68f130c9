package mobility

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"perto"
	"perto/internal/atomicfile"
)

// historyHead is the first line of a file with a function's releases: the format, and
// the length and checksum of the rest.
const historyHead = "perto-releases 1 bytes=%d crc32c=%08x\n"

// castagnoli is the polynomial of the checksum (CRC-32C).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxHistory is the largest such file, in bytes: maxKeep releases, of which JSON may
// write each byte as six.
const maxHistory = 6*maxKeep*maxRelease + 1<<20

// history is the content of the file after its first line.
type history struct {
	Service  perto.Service `json:"service"`
	Path     string        `json:"path"`
	Releases []Signed      `json:"releases"` // newest first
}

// file returns the name of a function's file. It is a digest, because paths are too
// long for file names and may have any characters.
func (f function) file() string { return Digest([]byte(string(f.service) + "\n" + f.path)) }

// writeReleases makes the releases of a function durable.
func (s *Store) writeReleases(f function, kept []release) error {
	if s.dir == "" {
		return nil
	}
	text, err := formatHistory(f, kept)
	if err != nil {
		return err
	}
	return atomicfile.Write(s.path(releasesDir, f.file(), releaseExt), text, 0o600)
}

func formatHistory(f function, kept []release) ([]byte, error) {
	h := history{Service: f.service, Path: f.path}
	for _, k := range kept {
		h.Releases = append(h.Releases, k.Signed)
	}
	body, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return nil, err
	}
	return withHead(append(body, '\n')), nil
}

func withHead(body []byte) []byte {
	return append(fmt.Appendf(nil, historyHead, len(body), crc32.Checksum(body, castagnoli)), body...)
}

// loadReleases reads the releases of all functions.
func (s *Store) loadReleases() error {
	names, err := listFiles(s.path(releasesDir, "", ""), releaseExt)
	if err != nil {
		return err
	}
	for _, name := range names {
		file := s.path(releasesDir, name, releaseExt)
		text, err := readFile(file, maxHistory)
		var f function
		var kept []release
		if err == nil {
			f, kept, err = parseHistory(text, s.trust)
		}
		if err == nil && f.file() != name {
			err = fmt.Errorf("it belongs to %s%s", f.service, f.path)
		}
		if err != nil {
			s.log.Error("damaged releases of a function were set aside", "file", file, "err", err)
			if err := setAside(file); err != nil {
				return err
			}
			continue
		}
		for _, k := range kept {
			if !k.trusted {
				s.log.Warn("a release has no effect because its key is not trusted", "function", k.r.name(), "version", k.r.Version, "key", k.Key)
			}
		}
		s.released[f] = kept
	}
	return nil
}

// parseHistory reads such a file. A release without a signature of a trusted key is kept
// and marked as not trusted, because the key may be trusted later. The checksum detects
// damage.
func parseHistory(text []byte, trust []PublicKey) (f function, kept []release, err error) {
	head, body, _ := bytes.Cut(text, []byte("\n"))
	var size int
	var sum uint32
	if _, err := fmt.Sscanf(string(head)+"\n", historyHead, &size, &sum); err != nil {
		return f, nil, errors.New("the first line is invalid")
	}
	if len(body) != size || crc32.Checksum(body, castagnoli) != sum {
		return f, nil, errors.New("length or checksum is wrong")
	}
	var h history
	if err := decodeStrictly(bytes.NewReader(body), &h); err != nil {
		return f, nil, err
	}
	if err := checkFunction(h.Service, h.Path); err != nil {
		return f, nil, err
	}
	if n := len(h.Releases); n == 0 || n > maxKeep {
		return f, nil, fmt.Errorf("it has %d releases instead of 1 to %d", n, maxKeep)
	}
	for _, signed := range h.Releases {
		r, err := ParseRelease(signed.Release)
		switch {
		case err != nil:
			return f, nil, err
		case r.Service != h.Service || r.Path != h.Path:
			return f, nil, fmt.Errorf("a release of %s is in the file of %s%s", r.name(), h.Service, h.Path)
		case len(kept) > 0 && r.Version >= kept[len(kept)-1].r.Version:
			return f, nil, fmt.Errorf("version %d follows version %d", r.Version, kept[len(kept)-1].r.Version)
		}
		kept = append(kept, release{Signed: signed, r: r, trusted: signed.checkSignature(trust) == nil})
	}
	return function{h.Service, h.Path}, kept, nil
}
