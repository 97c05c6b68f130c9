package api

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGuardAcceptsNamesOfTheMachine(t *testing.T) {
	h := GuardNames(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func(host string) bool { return host == "gru.example" })
	for host, want := range map[string]int{
		"127.0.0.1:8080": 200, "[::1]:8080": 200, "203.0.113.1": 200, "localhost:9100": 200,
		"gru.example:9100": 200, "GRU.example.": 200, "evil.example": 421, "gru.example.evil.example": 421, "": 421,
	} {
		if got := get(h, "/", host).Code; got != want {
			t.Errorf("Host %q: got %d, want %d", host, got, want)
		}
	}
}

func TestRequireToken(t *testing.T) {
	token := "0123456789abcdefghij"
	h := RequireToken(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func() string { return token })
	ask := func(path, authorization string) int {
		r := httptest.NewRequest("GET", path, nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for _, tt := range []struct {
		path, authorization string
		want                int
	}{
		{"/metrics", "", 401}, {"/api/status", "Bearer wrong", 401}, {"/api/status", token, 401}, {"/api/status", "Basic " + token, 401},
		{"/healthz/", "", 401}, {"/metrics", "Bearer " + token, 200}, {"/metrics", "bearer " + token, 200}, {"/metrics", "Bearer", 401}, {LivePath, "", 200},
	} {
		if got := ask(tt.path, tt.authorization); got != tt.want {
			t.Errorf("%s with %q: got %d, want %d", tt.path, tt.authorization, got, tt.want)
		}
	}
	token = ""
	if got := ask("/metrics", ""); got != 200 {
		t.Errorf("without a token: got %d, want 200", got)
	}
}

func TestReadTokenChecksTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want       string // in the error; "" for none
	}{
		{"good", "0123456789abcdefghij\n", 0o640, ""},
		{"for everybody", "0123456789abcdefghij\n", 0o644, "chmod o="},
		{"short", "0123456789\n", 0o600, "at least 20"},
		{"two lines", "0123456789abcdefghij\n0123456789abcdefghij\n", 0o600, "one line"},
	} {
		os.Remove(file)
		if err := os.WriteFile(file, []byte(tt.text), tt.mode); err != nil {
			t.Fatal(err)
		}
		switch _, err := ReadToken(file); {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := ReadToken(file + "none"); err == nil || !strings.Contains(err.Error(), "perto key new --token") {
		t.Errorf("missing: got %v", err)
	}
}
