package api

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// logIn sends the form of a page with a token.
func logIn(h http.Handler, target, token string) *http.Response {
	r := httptest.NewRequest("POST", target, strings.NewReader(url.Values{"token": {token}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// TestSessionsOfOneHost: a browser sends the cookies of all ports of a host. The sessions
// of two nodes on 127.0.0.1 do not replace each other.
func TestSessionsOfOneHost(t *testing.T) {
	handlerOf := func(token string) http.Handler {
		return RequireToken(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func() string { return token })
	}
	tokens := []string{"0123456789abcdefghij", "abcdefghij0123456789"}
	jar := make(map[string]*http.Cookie)
	for _, token := range tokens {
		for _, c := range logIn(handlerOf(token), LoginPath, token).Cookies() {
			jar[c.Name] = c
			if c.SameSite != http.SameSiteLaxMode || !c.HttpOnly || c.Domain != "" || c.Path != "/" {
				t.Errorf("the cookie is %v", c)
			}
		}
	}
	for _, token := range tokens {
		r := httptest.NewRequest("GET", "/events", nil)
		r.AddCookie(&http.Cookie{Name: SessionCookie + "of-another-node", Value: "x"})
		for _, c := range jar {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		if handlerOf(token).ServeHTTP(w, r); w.Code != http.StatusOK {
			t.Errorf("after both log-ins: got %d", w.Code)
		}
	}
}

// TestLogInDoesNotWait: a form that does not end is answered after a moment.
func TestLogInDoesNotWait(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(RequireToken(http.NotFoundHandler(), func() string { return "0123456789abcdefghij" }))
	defer s.Close()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * loginWait))
	io.WriteString(c, "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ntoken=0123456789abcdefghij")
	b := make([]byte, 12)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "HTTP/1.1 403" {
		t.Errorf("got %q, %v", b, err)
	}
}

// TestLogInReturns: the log-in leads back to the page that needed it, and to no other
// server.
func TestLogInReturns(t *testing.T) {
	const token = "0123456789abcdefghij"
	h := RequireToken(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func() string { return token })
	r := httptest.NewRequest("GET", "/visit?url=%2Fa%3Fb&again=1", nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got := logIn(h, w.Header().Get("Location"), token).Header.Get("Location"); got != "/visit?url=%2Fa%3Fb&again=1" {
		t.Errorf("got %q", got)
	}
	for _, next := range []string{"", "//evil.example/", "/\\evil.example/", "/\t/evil.example/", "\\\\evil.example", "http://evil.example/", "javascript:alert(1)", "/\n/evil.example"} {
		got := logIn(h, LoginPath+"?"+url.Values{"next": {next}}.Encode(), token).Header.Get("Location")
		if got != "/" {
			t.Errorf("next %q: got %q", next, got)
		}
	}
}
