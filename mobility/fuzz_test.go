package mobility

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzSigningKey: a key that was read can be written and read again.
func FuzzSigningKey(f *testing.F) {
	f.Add([]byte(alice.File()))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseSigningKey(data)
		if err != nil {
			return
		}
		again, err := ParseSigningKey([]byte(k.File()))
		if err != nil || again.Name != k.Name || !again.private.Equal(k.private) {
			t.Errorf("%q: read again as %v, %v", data, again, err)
		}
	})
}

// FuzzPublicKey: each key has one text.
func FuzzPublicKey(f *testing.F) {
	f.Add(alice.Public().String())
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParsePublicKey(text)
		if err == nil && k.String() != text {
			t.Errorf("%q is written as %q", text, k)
		}
	})
}

// FuzzRelease: a release that was read can be signed and stays the same. It names no
// file outside the Store.
func FuzzRelease(f *testing.F) {
	f.Add(sign(f, greeting(1, module("a"))).Release)
	f.Add(`{"service":"a.example","path":"/*","version":9,"removed":true,"time":"2026-01-01T00:00:00+02:00"}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRelease(text)
		if err != nil {
			return
		}
		if !r.Removed && checkDigest(r.Digest) != nil || checkFunction(r.Service, r.Path) != nil {
			t.Errorf("took %+v", r)
		}
		signed, err := Sign(alice, r)
		if err != nil {
			if len(text) > maxRelease/8 { // the encoding of Go may be longer
				return
			}
			t.Fatalf("%+v: %v", r, err)
		}
		again, err := signed.Verify([]PublicKey{alice.Public()})
		if err != nil || again.name() != r.name() || again.Version != r.Version || !again.Time.Equal(r.Time) {
			t.Errorf("%+v: read again as %+v, %v", r, again, err)
		}
	})
}

// FuzzHistory: a history that was read can be written and read again. Its versions fall.
func FuzzHistory(f *testing.F) {
	name := function{"shop.cdn.example", "/greeting"}
	var kept []release
	for _, v := range []uint64{3, 1} {
		r := greeting(v, module("a"))
		kept = append(kept, release{Signed: sign(f, r), r: r, trusted: true})
	}
	text, err := formatHistory(name, kept)
	if err != nil {
		f.Fatal(err)
	}
	_, body, _ := bytes.Cut(text, []byte("\n"))
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) {
		parseHistory(body, nil)
		name, kept, err := parseHistory(withHead(body), []PublicKey{alice.Public()})
		if err != nil {
			return
		}
		for i, k := range kept {
			if k.r.Service != name.service || k.r.Path != name.path || i > 0 && k.r.Version >= kept[i-1].r.Version {
				t.Errorf("took %+v", k.r)
			}
		}
		text, err := formatHistory(name, kept)
		if err != nil {
			t.Fatal(err)
		}
		if again, more, err := parseHistory(text, nil); err != nil || again != name || len(more) != len(kept) {
			t.Errorf("read again as %v, %d releases, %v", again, len(more), err)
		}
	})
}

// FuzzSigned: a signed release that was read is written as the same text.
func FuzzSigned(f *testing.F) {
	text, err := json.Marshal(sign(f, greeting(1, module("a"))))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s, again Signed
		if decodeStrictly(bytes.NewReader(data), &s) != nil {
			return
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := decodeStrictly(bytes.NewReader(text), &again); err != nil || again.Release != s.Release || again.Key != s.Key {
			t.Errorf("%q: read again as %+v, %v", data, again, err)
		}
	})
}
