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

// signPrefix begins the line of a signing key: "perto-sign-1 NAME SEED", with the seed
// in base64.
const signPrefix = "perto-sign-1"

// SigningKey signs releases. Printing it shows only its name.
type SigningKey struct {
	Name    string
	private ed25519.PrivateKey
}

// NewSigningKey returns a new key from the system's random numbers.
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

// Public returns the key that verifies signatures of k.
func (k SigningKey) Public() PublicKey {
	return PublicKey{Name: k.Name, Key: k.private.Public().(ed25519.PublicKey)}
}

// Signer returns the private key, for other formats (images).
func (k SigningKey) Signer() crypto.Signer { return k.private }

// Format writes the key's name for every verb, so that logs never have the secret.
func (k SigningKey) Format(f fmt.State, _ rune) { io.WriteString(f, "signing key "+k.Name) }

// File returns the line of the key's file. Only the owner may have access to the file
// (mode 0600).
func (k SigningKey) File() string {
	return fmt.Sprintf("%s %s %s\n", signPrefix, k.Name, base64.StdEncoding.EncodeToString(k.private.Seed()))
}

// ParseSigningKey reads a key's file with one key. It skips empty lines and lines with
// #. Its errors never contain secrets.
func ParseSigningKey(data []byte) (SigningKey, error) {
	var k SigningKey
	for n, line := range bytes.Split(data, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[0]) != signPrefix {
			return SigningKey{}, fmt.Errorf("line %d is not a signing key", n+1)
		}
		if k.private != nil {
			return SigningKey{}, fmt.Errorf("line %d is a second key; a file holds one", n+1)
		}
		// The error has no name: when the fields are swapped, the name is the seed.
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
		return SigningKey{}, errors.New("the file has no key")
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
		return k, &perto.Error{Op: "read signing key", Path: path, Kind: perto.KindInvalid, Err: err, Hint: "the format of its line: " + signPrefix + " NAME SEED"}
	}
	return k, nil
}

// PublicKey verifies releases. A node trusts a list of them.
type PublicKey struct {
	Name string
	Key  ed25519.PublicKey
}

// String returns the key in the form of the configuration: "NAME:BASE64".
func (k PublicKey) String() string {
	return k.Name + ":" + base64.StdEncoding.EncodeToString(k.Key)
}

// ParsePublicKey reads the form that String writes. Its errors do not repeat the text,
// which may be a secret in the wrong place.
func ParsePublicKey(text string) (PublicKey, error) {
	name, encoded, ok := strings.Cut(text, ":")
	if !ok {
		return PublicKey{}, errors.New(`not a public key; use the form "NAME:BASE64"`)
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

// checkKeyName accepts names that need no quotes in a file, a log and a configuration.
func checkKeyName(name string) error {
	if name == "" || len(name) > maxKeyName {
		return fmt.Errorf("a key's name has 1 to %d characters", maxKeyName)
	}
	for _, c := range []byte(name) {
		if !alphanumeric(c) && !strings.ContainsRune("-._@", rune(c)) {
			return errors.New("a key's name may have letters, digits and - . _ @")
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
