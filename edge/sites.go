package edge

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"perto"
	"perto/edge/fetch"
	"perto/internal/fields"
)

// Site is the configuration of one service of the CDN for an edge.
type Site struct {
	Service perto.Service
	// Hosts are the other names of the service in canonical form: aliases or addresses.
	Hosts   []string
	Origins []fetch.Origin // in order of preference
	// Cookies is the rule for Set-Cookie in replies to GET and HEAD.
	Cookies   Cookies
	Paths     []PathRule
	Functions []Function
}

// Cookies is a rule for replies of origins that set cookies. Such a reply is never
// stored with the cookie.
type Cookies uint8

// The rules.
const (
	// PassCookies sends the reply to the client of the request and does not store it.
	PassCookies Cookies = iota
	// StripCookies removes the cookies and stores the reply without them.
	StripCookies
)

var cookiesNames = [...]string{"pass", "strip"}

// String returns the rule as the configuration writes it.
func (c Cookies) String() string { return cookiesNames[c] }

// ParseCookies reads the form that String returns.
func ParseCookies(s string) (Cookies, bool) {
	i := slices.Index(cookiesNames[:], s)
	return Cookies(max(i, 0)), i >= 0
}

// PathRule is the operator's rule for a path of a site.
type PathRule struct {
	// Path is the path. With "/*" at its end it includes all paths below. The longest
	// path counts.
	Path    string
	Cookies Cookies

	normal string // Path in the normal form of targets
}

// cookies returns the rule for a target in normal form.
func (s *Site) cookies(target []byte) Cookies {
	path, _, _ := bytes.Cut(target, []byte("?"))
	rule, longest := s.Cookies, -1
	for i := range s.Paths {
		if p := &s.Paths[i]; len(p.normal) > longest && Matches(p.normal, path) {
			rule, longest = p.Cookies, len(p.normal)
		}
	}
	return rule
}

func (r *request) stripsCookies() bool { return r.route.site.cookies(r.target()) == StripCookies }

func (s *Site) hosts() []string { return append([]string{string(s.Service)}, s.Hosts...) }

// Sites is an immutable set of sites. Use [NewSites].
type Sites struct{ list []Site }

// NewSites checks that every site has a name and origins with valid URLs, and that no
// two sites have a host in common.
func NewSites(sites ...Site) (*Sites, error) {
	seen := make(map[string]perto.Service)
	probe := fetch.NewClient(fetch.Config{})
	for i := range sites {
		s := &sites[i]
		if s.Service == "" {
			return nil, fmt.Errorf("site %d has no service name", i)
		}
		if _, err := probe.Upstream(s.Origins); err != nil {
			return nil, fmt.Errorf("site %s: %w", s.Service, err)
		}
		for _, h := range s.hosts() {
			if h != perto.CanonicalName(h) {
				return nil, fmt.Errorf("site %s: host %q is not canonical", s.Service, h)
			}
			if other, ok := seen[h]; ok && other != s.Service {
				return nil, fmt.Errorf("host %s belongs to %s and to %s", h, other, s.Service)
			}
			seen[h] = s.Service
		}
		paths := make(map[string]bool)
		for i := range s.Paths {
			p := &s.Paths[i]
			if p.normal = normalPath(p.Path); p.normal == "" || paths[p.normal] {
				return nil, fmt.Errorf("site %s: path %q does not begin with /, or has two rules", s.Service, p.Path)
			}
			paths[p.normal] = true
		}
		clear(paths)
		for i := range s.Functions {
			f := &s.Functions[i]
			if f.normal = normalPath(f.Path); f.normal == "" || f.Handle == nil || paths[f.Path] {
				return nil, fmt.Errorf("site %s: function %q has a path that does not begin with / or is used twice, or has no code", s.Service, f.Path)
			}
			paths[f.Path] = true
		}
	}
	return &Sites{list: sites}, nil
}

// normalPath returns the normal form of a path, which may end with "/*". It returns ""
// when p is not a path.
func normalPath(p string) string {
	if p == "" || p[0] != '/' {
		return ""
	}
	n, _ := fetch.AppendTarget(nil, []byte(p))
	return string(n)
}

// table finds the route of a host.
type table struct {
	hosts map[string]*route
	wild  map[string]*route // "*.example" for all names below example
}

type route struct {
	site     *Site
	upstream *fetch.Upstream
	counts   *responses
}

func (t *table) add(host string, r *route) {
	if strings.HasPrefix(host, "*.") {
		t.wild[host] = r
	} else {
		t.hosts[host] = r
	}
}

// all yields the hosts and wildcards with their routes.
func (t *table) all() iter.Seq2[string, *route] {
	return func(yield func(string, *route) bool) {
		for _, hosts := range []map[string]*route{t.hosts, t.wild} {
			for h, r := range hosts {
				if !yield(h, r) {
					return
				}
			}
		}
	}
}

// find returns the route of a host: that of its own name, or of the longest wildcard
// above it. The DNS server matches names in the same way (RFC 4592).
func (t *table) find(host []byte) *route {
	r := t.hosts[string(host)]
	if r == nil && len(t.wild) > 0 {
		r = t.findWild(host)
	}
	return r
}

func (t *table) findWild(host []byte) *route {
	var buf [maxName + 1]byte
	for i, c := range host {
		if c != '.' || len(host)-i > maxName {
			continue
		}
		if r := t.wild[string(append(append(buf[:0], '*'), host[i:]...))]; r != nil {
			return r
		}
	}
	return nil
}

// maxName is the length of the longest domain name in bytes (RFC 1035, section
// 2.3.4).
const maxName = 255

// appendKey appends the cache key of a target: service, zero byte, the host of the
// client's request, zero byte, and the target in normal form. Origins receive that host
// in Host or in X-Forwarded-Host, so names of one site do not share objects. authority
// is in lower case. ok is false when the target has no safe meaning.
func (r *route) appendKey(dst, authority, target []byte) (key []byte, ok bool) {
	dst = append(append(dst, r.site.Service...), 0)
	dst = append(append(dst, authority...), 0)
	return fetch.AppendTarget(dst, target)
}

// appendAuthority appends a Host in the form that is forwarded: in lower case, without
// a final dot, without the default port and without leading zeros in the port. name is
// the part that selects the route.
func appendAuthority(dst, host []byte) (authority, name []byte) {
	base := len(dst)
	for _, c := range host {
		dst = append(dst, fields.Lower(c))
	}
	authority = dst[base:]
	name, port := authority, []byte(nil)
	if i := bytes.LastIndexByte(name, ':'); i >= 0 && bytes.IndexByte(name[i:], ']') < 0 {
		name, port = authority[:i], bytes.TrimLeft(authority[i+1:], "0")
	}
	name = bytes.TrimSuffix(name, []byte{'.'})
	if len(port) == 0 || string(port) == "80" {
		return name, name
	}
	// The port moves forward in the same memory, so nothing grows.
	return append(append(authority[:len(name)], ':'), port...), name
}

// checks returns the health checks of the sites' origins. A check has the Host that
// requests of clients have: an origin with virtual hosts knows no other.
func (s *Sites) checks() (out []fetch.Check) {
	for i := range s.list {
		for _, o := range s.list[i].Origins {
			if o.Health != "" {
				out = append(out, fetch.Check{URL: o.URL, Path: o.Health, Host: cmp.Or(o.Host, s.list[i].someHost())})
			}
		}
	}
	return out
}

// someHost returns a host of the site: an alias, or its service. A host of a wildcard
// gets a label in place of the asterisk.
func (s *Site) someHost() string {
	for _, h := range append(slices.Clip(s.Hosts), string(s.Service)) {
		if !strings.HasPrefix(h, "*.") {
			return h
		}
	}
	return "perto-check" + strings.TrimPrefix(string(s.Service), "*")
}
