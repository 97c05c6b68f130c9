package replicas

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"perto"
)

// keyPrefix begins a line of a key file: "perto-key-1 ID SECRET", with the secret in
// base64.
const keyPrefix = "perto-key-1"

// NewKey returns a key from the system's random source.
func NewKey() Key {
	var k Key
	var id [4]byte
	rand.Read(id[:]) // never fails (package crypto/rand)
	rand.Read(k.Secret[:])
	k.ID = binary.BigEndian.Uint32(id[:])
	return k
}

// File returns the key as a line of a key file.
func (k Key) File() string {
	return fmt.Sprintf("%s %08x %s\n", keyPrefix, k.ID, base64.StdEncoding.EncodeToString(k.Secret[:]))
}

// ParseKeys reads a key file with one key a line. It skips empty lines and lines with
// #. The first key signs, and all keys verify. Errors never show secrets.
func ParseKeys(data []byte) ([]Key, error) {
	var keys []Key
	for n, line := range bytes.Split(data, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		fields := bytes.Fields(line)
		var k Key
		if len(fields) != 3 || string(fields[0]) != keyPrefix {
			return nil, fmt.Errorf("line %d: not a key", n+1)
		}
		if _, err := fmt.Sscanf(string(fields[1]), "%08x", &k.ID); err != nil {
			return nil, fmt.Errorf("line %d: the key's id is not hexadecimal", n+1)
		}
		secret, err := base64.StdEncoding.DecodeString(string(fields[2]))
		if err != nil || len(secret) != len(k.Secret) {
			return nil, fmt.Errorf("line %d: the key's secret is not %d bytes of base64", n+1, len(k.Secret))
		}
		copy(k.Secret[:], secret)
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the file holds no key")
	}
	return keys, nil
}

// LoadKeys reads a key file.
func LoadKeys(path string) ([]Key, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		var keys []Key
		if keys, err = ParseKeys(data); err == nil {
			return keys, nil
		}
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err // the path is printed before it
	}
	return nil, &perto.Error{Op: "read key file", Path: path, Kind: perto.KindInvalid, Err: err, Hint: "copy the key file of the other machines here; for a new cluster perto key new makes one"}
}
