package replicas

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"testing"
	"time"
)

// FuzzKeys: reading a key file returns keys that are written and read without change,
// or an error that shows no secret.
func FuzzKeys(f *testing.F) {
	f.Add([]byte(Key{ID: 7}.File()))
	f.Add([]byte("# two, the first signs\n" + Key{ID: 1}.File() + "\n" + Key{ID: 2, Secret: [32]byte{9}}.File()))
	f.Add([]byte("perto-key-1 0000000g AAAA"))
	f.Add([]byte("perto-key-1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ParseKeys(data)
		if err != nil {
			if len(data) > 40 && bytes.Contains([]byte(err.Error()), data[:40]) {
				t.Errorf("the error shows the file: %v", err)
			}
			return
		}
		for _, k := range keys {
			again, err := ParseKeys([]byte(k.File()))
			if err != nil || len(again) != 1 || again[0] != k {
				t.Errorf("%v, written and read: %v, %v", k, again, err)
			}
		}
	})
}

// FuzzStore: a damaged state file is an error and never a panic. A file that passes the
// checksum can be given to members.
func FuzzStore(f *testing.F) {
	now := time.Unix(1_790_000_000, 0)
	add := func(body string) {
		f.Add(fmt.Appendf(nil, storeHead+"%s", len(body), crc32.Checksum([]byte(body), castagnoli), now.Unix(), body), body)
	}
	add("[]")
	add(`[{"name":"gru-1","down":true,"epoch":7,"admin":"drain"}]`)
	f.Add([]byte("perto"), "[")
	f.Fuzz(func(t *testing.T, text []byte, body string) {
		parseStore(text, now)
		// The same body with a correct checksum, so that the fuzzer reaches the parser.
		whole := fmt.Appendf(nil, storeHead+"%s", len(body), crc32.Checksum([]byte(body), castagnoli), now.Unix(), body)
		records, err := parseStore(whole, now)
		if err != nil {
			return
		}
		for _, s := range records {
			newMember(Declared{Name: "gru-1"}, now).restore(s)
		}
	})
}
