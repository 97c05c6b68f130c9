package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"strings"
)

// LoginPath is the page on which browsers give the token. They receive a cookie that
// permits the same as the token, until the token changes.
const LoginPath = "/login"

// sessionCookie is the name of the cookie. Its value follows from the token, but the token
// does not follow from it.
const sessionCookie = "perto_session"

func sessionOf(token string) string {
	mac := hmac.New(sha256.New, []byte(token))
	io.WriteString(mac, "perto: session of a browser")
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func hasSession(r *http.Request, token string) bool {
	c, err := r.Cookie(sessionCookie)
	return err == nil && sameToken(c.Value, sessionOf(token))
}

// maxLoginBytes is the longest form that login reads.
const maxLoginBytes = 4096

// login serves the form, and sets the cookie after the right token.
func login(w http.ResponseWriter, r *http.Request, token string) {
	problem := ""
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxLoginBytes)
		if sameToken(strings.TrimSpace(r.PostFormValue("token")), token) {
			http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: sessionOf(token), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
			http.Redirect(w, r, "/", http.StatusSeeOther)
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
