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
	"time"
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

// loginWait is the timeout of the form, which any client may send.
const loginWait = 5 * time.Second

// loginStyle is that of the console in short, also for dark screens. Its hash permits it
// in the policy.
const loginStyle = `:root{color-scheme:light dark}body{max-width:32rem;margin:0 auto;padding:1.25rem;font:1rem/1.5 system-ui,sans-serif}` +
	`input,button{font:inherit;min-height:2.25rem;padding:.1rem .5rem;max-width:100%}strong{color:light-dark(#c04a00,#ff9a4d)}`

var loginPolicy = func() string {
	sum := sha256.Sum256([]byte(loginStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; frame-ancestors 'none'"
}()

// login serves the form, and sets the cookie after the right token.
func login(w http.ResponseWriter, r *http.Request, token string) {
	problem := ""
	if r.Method == http.MethodPost {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(loginWait)) // some writers have none
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
	w.Header().Set("Content-Security-Policy", loginPolicy)
	w.Header().Set("Cache-Control", "no-store")
	if problem != "" {
		w.WriteHeader(http.StatusForbidden)
	}
	io.WriteString(w, `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>perto: log in</title><style>`+loginStyle+`</style>
<h1>perto</h1><p>The page of this node needs the token in the file of <code>api_token</code>.</p>
<p role="alert"><strong>`+html.EscapeString(problem)+`</strong></p>
<form method="post"><label>Token <input type="password" name="token" autofocus autocomplete="current-password"></label> <button>Log in</button></form></html>
`)
}
