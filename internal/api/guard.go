package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"perto"
)

// Guard rejects requests that a web page of another origin could make a browser send:
// those with a Host that is neither an address nor localhost (DNS rebinding), and cross-origin
// requests that could change something.
func Guard(next http.Handler) http.Handler { return GuardNames(next, nil) }

// GuardNames is [Guard] for an API that clients also reach by the names that allowed
// accepts. They are in lower case and without a final dot. A page of another origin cannot
// use a name whose addresses its owner does not control.
func GuardNames(next http.Handler, allowed func(host string) bool) http.Handler {
	protection := http.NewCrossOriginProtection()
	return protection.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = perto.CanonicalName(strings.Trim(host, "[]"))
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && (allowed == nil || !allowed(host)) {
			http.Error(w, "ask by address, as localhost, by the name of the machine or node, or by a name in api_names", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// LivePath is the path of the check that needs no token.
const LivePath = "/healthz"

// RequireToken rejects requests without "Authorization: Bearer TOKEN", except for
// [LivePath]. Browsers send the cookie of [LoginPath] instead. When token returns "", it
// rejects none.
func RequireToken(next http.Handler, token func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := token()
		scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		bearer := strings.EqualFold(scheme, "Bearer")
		switch {
		case want == "" || r.URL.Path == LivePath || bearer && sameToken(got, want):
		case r.URL.Path == LoginPath:
			login(w, r, want)
			return
		case !bearer && hasSession(r, want):
		case !bearer && r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html"):
			toLogin(w, r)
			return
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="perto"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			json.NewEncoder(w).Encode(Failure{Error: "the API needs its token (--token-file, or -c with the configuration)", Kind: perto.KindInvalid.String()})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sameToken compares in constant time, also for tokens of different lengths.
func sameToken(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// shortestToken is the least number of characters of a token. A shorter one could be
// guessed.
const shortestToken = 20

// ReadToken reads the token in a file. The file must be readable by its owner and group
// only.
func ReadToken(path string) (string, error) {
	fail := func(err error, hint string) (string, error) {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		return "", &perto.Error{Op: "read API token", Path: path, Kind: perto.KindInvalid, Err: err, Hint: hint}
	}
	info, err := os.Stat(path)
	if err != nil {
		return fail(err, "perto key new --token -o FILE makes one")
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fail(errors.New("other users can read or change it"), "chmod o= "+path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fail(err, "")
	}
	token := strings.TrimSpace(string(text))
	if len(token) < shortestToken || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fail(errors.New("it has no token: at least 20 printable characters on one line"), "perto key new --token -o FILE makes one")
	}
	return token, nil
}
