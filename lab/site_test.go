package lab

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// startSite serves one cacheable page on the host and returns its URL.
func startSite(t *testing.T, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "s-maxage=60")
		w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.URL
}
