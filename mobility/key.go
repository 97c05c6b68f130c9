package mobility

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"perto"
)

// signPrefix begins the line of a signing key: "perto-sign-1 NAME SEED", the seed
// in base64.
const signPrefix = "perto-sign-1"

// SigningKey signs releases. It shows its name only, however it is printed.
type SigningKey struct {
	Name    string
	private ed25519.PrivateKey
}

// NewSigningKey returns a key from the system's random source.
func NewSigningKey(name string) (SigningKey, error) {
	if err := checkKeyName(name); err != nil {
		return SigningKey{}, &perto.Error{Op: "make signing key", Kind: perto.KindInvalid, Err: err}
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return SigningKey{}, err
	}
	return SigningKey{Name: name, private: private}, nil
}

// Public returns the key that verifies what k signs.
func (k SigningKey) Public() PublicKey {
	return PublicKey{Name: k.Name, Key: k.private.Public().(ed25519.PublicKey)}
}

// Signer returns the key as what signs: images, and what else has a format of its own.
func (k SigningKey) Signer() crypto.Signer { return k.private }

// Format writes the key's name for every verb, so that no log can show the secret.
func (k SigningKey) Format(f fmt.State, _ rune) { io.WriteString(f, "signing key "+k.Name) }

// File returns the key as the line of its file, which only its owner may read (mode
// 0600).
func (k SigningKey) File() string {
	return fmt.Sprintf("%s %s %s\n", signPrefix, k.Name, base64.StdEncoding.EncodeToString(k.private.Seed()))
}

// ParseSigningKey reads a key's file: one key; empty lines and lines with # are
// skipped. Errors never show secrets.
func ParseSigningKey(data []byte) (SigningKey, error) {
	var k SigningKey
	for n, line := range bytes.Split(data, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[0]) != signPrefix {
			return SigningKey{}, fmt.Errorf("line %d is no signing key", n+1)
		}
		if k.private != nil {
			return SigningKey{}, fmt.Errorf("line %d is a second key; a file holds one", n+1)
		}
		// The name is not shown: who swapped the fields has his seed here.
		if checkKeyName(string(fields[1])) != nil {
			return SigningKey{}, fmt.Errorf("line %d: the key's name is malformed", n+1)
		}
		seed, err := base64.StdEncoding.Strict().DecodeString(string(fields[2]))
		if err != nil || len(seed) != ed25519.SeedSize {
			return SigningKey{}, fmt.Errorf("line %d: the key's seed is not %d bytes of base64", n+1, ed25519.SeedSize)
		}
		k = SigningKey{Name: string(fields[1]), private: ed25519.NewKeyFromSeed(seed)}
	}
	if k.private == nil {
		return SigningKey{}, errors.New("no key")
	}
	return k, nil
}

// LoadSigningKey reads a key's file.
func LoadSigningKey(path string) (SigningKey, error) {
	data, err := os.ReadFile(path)
	var k SigningKey
	if err == nil {
		k, err = ParseSigningKey(data)
	}
	if err != nil {
		return k, &perto.Error{Op: "read signing key", Path: path, Kind: perto.KindInvalid, Err: err, Hint: "its line is: " + signPrefix + " NAME SEED"}
	}
	return k, nil
}

// PublicKey verifies releases: one of a node's trust list.
type PublicKey struct {
	Name string
	Key  ed25519.PublicKey
}

// String returns the key as a configuration writes it: "NAME:BASE64".
func (k PublicKey) String() string {
	return k.Name + ":" + base64.StdEncoding.EncodeToString(k.Key)
}

// ParsePublicKey reads what String writes. Its errors do not repeat the text: it
// may be a secret that was put in the wrong place.
func ParsePublicKey(text string) (PublicKey, error) {
	name, encoded, ok := strings.Cut(text, ":")
	if !ok {
		return PublicKey{}, errors.New(`no public key; it takes "NAME:BASE64"`)
	}
	if err := checkKeyName(name); err != nil {
		return PublicKey{}, err
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("the public key is not %d bytes of base64", ed25519.PublicKeySize)
	}
	return PublicKey{Name: name, Key: key}, nil
}

// maxKeyName is the longest name of a key, in bytes.
const maxKeyName = 64

// checkKeyName keeps names to what can stand in a file, a log and a configuration
// without quotes.
func checkKeyName(name string) error {
	if name == "" || len(name) > maxKeyName {
		return fmt.Errorf("a key's name has 1 to %d characters", maxKeyName)
	}
	for _, c := range []byte(name) {
		if !alphanumeric(c) && !strings.ContainsRune("-._@", rune(c)) {
			return errors.New("a key's name takes letters, digits and - . _ @")
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
