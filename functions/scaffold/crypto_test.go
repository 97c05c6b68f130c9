package scaffold

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"perto/functions"
)

// TestCryptoOfC: the results of crypto.h equal those of Go's packages.
func TestCryptoOfC(t *testing.T) {
	_, m := project(t, "c", "testdata/crypto.c")
	ask := func(uri, body string) (int, string) {
		t.Helper()
		r, err := m.Handle(t.Context(), &functions.Request{Method: "POST", URI: uri, Body: []byte(body)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status, string(r.Body)
	}
	same := func(what, body, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s of %q: got %q, want %q", what, body, got, want)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	bodies := []string{"", "a", "ab", "abc", "abcd", "a b&c/d?e=f+g%~é\r\n\x00", "\xff\xfe\xfd"}
	for n := range 200 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		bodies = append(bodies, string(b))
	}
	for _, body := range bodies {
		_, got := ask("/url", body)
		same("url", body, got, strings.ReplaceAll(url.QueryEscape(body), "+", "%20"))
		for uri, e := range map[string]*base64.Encoding{"/base64": base64.StdEncoding, "/base64url": base64.RawURLEncoding} {
			_, got := ask(uri, body)
			same(uri, body, got, e.EncodeToString([]byte(body)))
			status, back := ask("/decode", got)
			same("decode", got, fmt.Sprint(status, back), fmt.Sprint(200, body))
		}
		sum := sha256.Sum256([]byte(body))
		_, got = ask("/sha256", body)
		same("sha256", body, got, hex.EncodeToString(sum[:]))
		for _, n := range []int{0, 1, 63, 64, 65, 150} {
			if n > len(body) {
				continue
			}
			h := hmac.New(sha256.New, []byte(body[:n]))
			h.Write([]byte(body[n:]))
			_, got := ask(fmt.Sprint("/hmac/", n), body)
			same("hmac", body, got, hex.EncodeToString(h.Sum(nil)))
		}
	}
	for text, want := range map[string]int{"YQ==": 200, "YQ": 200, "YWI=": 200, "YQ=": 400, "Y": 400, "YR": 400, "YW J": 400, "YQ===": 400, "====": 400, "=": 400, "_-8": 200, "/+8=": 200, "é": 400} {
		if status, got := ask("/decode", text); status != want {
			t.Errorf("decode of %q: got %d %q, want %d", text, status, got, want)
		}
	}
	for body, want := range map[string]string{"aa": "same", "ab": "other", "": "same", "a": "other"} {
		_, got := ask(fmt.Sprint("/same/", len(body)/2), body)
		same("comparison", body, got, want)
	}
}
