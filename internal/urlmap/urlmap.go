// Package urlmap maps URLs in the fields of replies, as reverse proxies do. A server
// behind a proxy names itself by the authority by which the proxy reaches it, for
// example "localhost:3000". Its clients need the authority by which they reach the
// proxy.
//
// The edge maps the URLs of origins to the host of the client's request. The web doors
// of the lab map the URLs of the site to an address on this machine. Start with
// [Map.Field]. A Map has no locks and does not change.
package urlmap

import (
	"net/netip"
	"strings"
)

// Server is a scheme with an authority, for example "http" with "localhost:3000".
type Server struct {
	Scheme    string // "http" or "https"
	Authority string // host, with ":port" if the port is not that of the scheme
}

// Map maps the URLs of a server to its clients' view.
type Map struct {
	// Own are the names of the server. Each host with each port is the server. The first
	// one is the name by which the server was asked: the Host of its request.
	Own []Server
	// Client is the scheme and the authority of the client's request.
	Client Server
	// Target is the path and the query of the client's request.
	Target string
}

// Fields are the names of the fields that may have URLs of the server, in lower case.
var Fields = [...]string{"location", "set-cookie", "link", "content-location", "refresh"}

// Field maps the value of a field with one of the names in [Fields]. The value of
// another field, and a value without URLs of the server, is returned unchanged.
func (m *Map) Field(name, value string) string {
	switch name {
	case "location", "content-location":
		return m.URL(value)
	case "refresh":
		return m.refresh(value)
	case "link":
		return m.link(value)
	case "set-cookie":
		return m.cookie(value)
	}
	return value
}

// URL maps one URL reference.
//
// An https URL of the server becomes one of the client's scheme, because the server
// does not see the client's scheme.
//
// A URL with the target of the client's own request is special, because as a redirect it
// could lead the client in a circle. With https, it asks a client of http to change, and
// keeps its scheme. With a name by which the server was not asked, it asks the client to
// use that name, and is not changed.
func (m *Map) URL(ref string) string {
	u, ok := parse(ref)
	if !ok {
		return ref
	}
	scheme := u.scheme
	if scheme == "" {
		scheme = m.Client.Scheme
	}
	if m.isClient(scheme, &u) || !m.owns(scheme, &u) {
		return ref
	}
	prefix, to := "", m.Client.Authority
	again := sameTarget(u.rest, m.Target)
	switch {
	case again && scheme == "https" && m.Client.Scheme == "http":
		prefix = "https:"
		to, _ = cutPort(to)
	case again && !m.asked(&u):
		return ref
	case u.scheme == "":
	default:
		prefix = m.Client.Scheme + ":"
	}
	return prefix + "//" + u.userinfo + to + u.rest
}

// Upgrades reports whether a mapped URL asks a client of http to change to https, at
// the same host.
func (m *Map) Upgrades(mapped string) bool {
	u, ok := parse(mapped)
	host, _ := split(m.Client.Authority)
	return ok && u.scheme == "https" && m.Client.Scheme == "http" && sameHost(u.host, host)
}

func sameTarget(rest, target string) bool {
	rest, _, _ = strings.Cut(rest, "#")
	if rest == "" || rest[0] == '?' {
		rest = "/" + rest
	}
	return rest == target
}

// isClient reports whether the URL has the host of the client's request, with its port
// or, in the other scheme, with the usual one.
func (m *Map) isClient(scheme string, u *reference) bool {
	host, port := m.Client.hostPort()
	if scheme != m.Client.Scheme {
		port = defaultPort(scheme)
	}
	return strings.EqualFold(strings.TrimSuffix(u.host, "."), host) && u.portOr(scheme) == port
}

// asked reports whether the URL has the host by which the server was asked.
func (m *Map) asked(u *reference) bool {
	host, _ := m.Own[0].hostPort()
	return sameHost(u.host, host)
}

// owns reports whether the URL names the server.
func (m *Map) owns(scheme string, u *reference) bool {
	hostFits, portFits, usual := false, false, false
	for i := range m.Own {
		host, port := m.Own[i].hostPort()
		hostFits = hostFits || sameHost(u.host, host)
		portFits = portFits || u.portOr(scheme) == port
		usual = usual || port == "80" || port == "443"
	}
	// A server behind a proxy that ends TLS may write either scheme with its usual port.
	// http without a port is another server when this one has an unusual port.
	isUsual := u.portOr(scheme) == defaultPort(scheme) && (scheme == "https" || usual)
	return hostFits && (portFits || isUsual)
}

func (s *Server) hostPort() (host, port string) {
	host, port = split(s.Authority)
	if port == "" {
		port = defaultPort(s.Scheme)
	}
	return host, port
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// cutPort splits "host:port" and keeps the brackets of an IPv6 address.
func cutPort(authority string) (host, port string) {
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		return authority[:i], authority[i+1:]
	}
	return authority, ""
}

// split splits "host:port". port is "" when there is none. host has no brackets.
func split(authority string) (host, port string) {
	host, port = cutPort(authority)
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), port
}

// reference is a URL reference with an authority.
type reference struct {
	scheme   string // "http", "https", or "" for the scheme of the request
	userinfo string // with its "@"
	host     string // without brackets
	port     string // "" for that of the scheme
	rest     string // path, query and fragment
}

// parse reads "http://host", "https://host" or "//host" with any path. A backslash ends
// the host, because browsers treat it as a slash.
func parse(ref string) (u reference, ok bool) {
	rest := ref
	for _, scheme := range [...]string{"http", "https"} {
		if n := len(scheme); len(ref) > n && strings.EqualFold(ref[:n], scheme) && ref[n] == ':' {
			u.scheme, rest = scheme, ref[n+1:]
		}
	}
	if !strings.HasPrefix(rest, "//") {
		return u, false
	}
	authority := rest[2:]
	if end := strings.IndexAny(authority, `/?#\`); end >= 0 {
		authority, u.rest = authority[:end], authority[end:]
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		u.userinfo, authority = authority[:at+1], authority[at+1:]
	}
	u.host, u.port = split(authority)
	u.port = strings.TrimLeft(u.port, "0")
	return u, u.host != ""
}

func (u *reference) portOr(scheme string) string {
	if u.port == "" {
		return defaultPort(scheme)
	}
	return u.port
}

// sameHost reports whether two hosts are the same machine. Names are compared without
// case and final dots. All names and addresses of this machine are the same, because a
// server is often started with one and reached by another.
func sameHost(a, b string) bool {
	a, b = strings.TrimSuffix(a, "."), strings.TrimSuffix(b, ".")
	if strings.EqualFold(a, b) || isLocal(a) && isLocal(b) {
		return true
	}
	x, errA := netip.ParseAddr(a)
	y, errB := netip.ParseAddr(b)
	return errA == nil && errB == nil && x == y
}

// isLocal reports whether a host is this machine: "localhost", a loopback address, or an
// unspecified address such as "0.0.0.0", which servers print as their own.
func isLocal(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && (a.Unmap().IsLoopback() || a.IsUnspecified())
}

// refresh maps the URL in a value such as `5; url=http://localhost:3000/`.
func (m *Map) refresh(v string) string {
	at := strings.IndexAny(v, ";,")
	if at < 0 {
		return v
	}
	at = skipSpace(v, at+1)
	if len(v) >= at+3 && strings.EqualFold(v[at:at+3], "url") {
		if eq := skipSpace(v, at+3); eq < len(v) && v[eq] == '=' {
			at = skipSpace(v, eq+1)
		}
	}
	end := len(v)
	if at < end && (v[at] == '"' || v[at] == '\'') {
		quote := v[at]
		at++
		if n := strings.IndexByte(v[at:], quote); n >= 0 {
			end = at + n
		}
	}
	return v[:at] + m.URL(v[at:end]) + v[end:]
}

func skipSpace(v string, at int) int {
	for at < len(v) && (v[at] == ' ' || v[at] == '\t') {
		at++
	}
	return at
}

// link maps the targets of a Link field (RFC 8288): `<http://localhost:3000/a.css>;
// rel=preload`.
func (m *Map) link(v string) string {
	var b strings.Builder
	quoted, done := false, 0
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == '<' && !quoted:
			n := strings.IndexByte(v[i:], '>')
			if n < 0 {
				i = len(v)
				break
			}
			b.WriteString(v[done : i+1])
			b.WriteString(m.URL(v[i+1 : i+n]))
			i += n
			done = i
		}
	}
	b.WriteString(v[done:])
	return b.String()
}

// cookie maps the attribute Domain of a Set-Cookie field. A browser rejects a cookie for
// a domain that the host of its request is not in.
func (m *Map) cookie(v string) string {
	client, _ := split(m.Client.Authority)
	parts := strings.Split(v, ";")
	kept := parts[:1]
	for _, part := range parts[1:] {
		name, domain, _ := strings.Cut(part, "=")
		domain = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(domain), "."), ".")
		switch {
		case !strings.EqualFold(strings.TrimSpace(name), "domain") || domain == "" || within(client, domain) || !m.hasDomain(domain):
			kept = append(kept, part)
		case !isDomain(client): // the cookie is for this host only
		default:
			kept = append(kept, name+"="+client)
		}
	}
	return strings.Join(kept, ";")
}

// hasDomain reports whether a host of the server is in a domain.
func (m *Map) hasDomain(domain string) bool {
	for i := range m.Own {
		if host, _ := split(m.Own[i].Authority); within(host, domain) || sameHost(host, domain) {
			return true
		}
	}
	return false
}

// within reports whether a host is a domain or below it (RFC 6265, section 5.1.3).
func within(host, domain string) bool {
	if strings.EqualFold(host, domain) {
		return true
	}
	above := len(host) - len(domain)
	return isDomain(host) && above > 0 && host[above-1] == '.' && strings.EqualFold(host[above:], domain)
}

// isDomain reports whether a cookie's Domain may be host: a name with a dot.
func isDomain(host string) bool {
	_, err := netip.ParseAddr(host)
	return err != nil && strings.Contains(host, ".")
}
