package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"html"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// LoginPath is the page on which browsers give the token. They receive a cookie that
// permits the same as the token, until the token changes.
const LoginPath = "/login"

// SessionCookie is the beginning of the cookie's name. The name continues with a part that
// follows from the token: browsers keep one set of cookies for all ports of a host, and
// nodes with different tokens may have the same host, for example in tunnels of SSH.
const SessionCookie = "perto_session_"

// sessionOf returns the cookie's name and value. They follow from the token, but the token
// does not follow from them.
func sessionOf(token string) (name, value string) {
	derive := func(what string) []byte {
		mac := hmac.New(sha256.New, []byte(token))
		io.WriteString(mac, what)
		return mac.Sum(nil)
	}
	name = SessionCookie + hex.EncodeToString(derive("perto: name of a cookie")[:8])
	return name, base64.RawURLEncoding.EncodeToString(derive("perto: session of a browser"))
}

func hasSession(r *http.Request, token string) bool {
	name, value := sessionOf(token)
	return slices.ContainsFunc(r.CookiesNamed(name), func(c *http.Cookie) bool { return sameToken(c.Value, value) })
}

// toLogin redirects a browser to the form, which returns to the page of the request.
func toLogin(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, LoginPath+"?"+url.Values{"next": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
}

// nextPage returns the page after the log-in. It is a path of this server: browsers read
// "//host" and "/\\host" as another server, and ignore tabs and newlines.
func nextPage(r *http.Request) string {
	next := r.URL.Query().Get("next")
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsFunc(next, func(c rune) bool { return c <= ' ' || c == '\\' }) {
		return "/"
	}
	return next
}

// maxLoginBytes is the longest form that login reads.
const maxLoginBytes = 4096

// login serves the form, and sets the cookie after the right token.
func login(w http.ResponseWriter, r *http.Request, token string) {
	problem := ""
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxLoginBytes)
		if sameToken(strings.TrimSpace(r.PostFormValue("token")), token) {
			// Lax lets links on other pages, for example in an alert, reach a page. Guard
			// rejects what other pages could change.
			name, value := sessionOf(token)
			http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
			http.Redirect(w, r, nextPage(r), http.StatusSeeOther)
			return
		}
		problem = "This is not the token of this node."
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	if problem != "" {
		w.WriteHeader(http.StatusForbidden)
	}
	io.WriteString(w, `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>perto: log in</title>
<h1>perto</h1><p>The page of this node needs the token in the file of <code>api_token</code>.</p>
<p>`+html.EscapeString(problem)+`</p>
<form method="post"><label>Token <input type="password" name="token" autofocus autocomplete="current-password"></label> <button>Log in</button></form></html>
`)
}
