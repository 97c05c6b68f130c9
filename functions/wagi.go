package functions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero/sys"

	"perto/internal/fields"
)

// runCommand runs a WASI command as a CGI program (RFC 3875, and WAGI). The request is
// in environment variables and standard input. The command prints the response: header
// fields, an empty line, the body.
func (m *Module) runCommand(ctx context.Context, c *call) (*Response, error) {
	if err := m.turn(ctx, c); err != nil {
		return nil, err
	}
	defer func() { <-m.pool.turns }()
	q := c.request
	out := &limited{left: m.limits.Response + maxCommandHead, call: c}
	diagnostics := &printed{call: c, level: 1}
	defer diagnostics.end()
	cfg := m.moduleConfig().WithArgs(append([]string{m.Name}, queryWords(q.URI)...)...).
		WithStdin(bytes.NewReader(q.Body)).WithStdout(out).WithStderr(diagnostics)
	for _, v := range commandEnv(q) {
		name, value, _ := strings.Cut(v, "=")
		cfg = cfg.WithEnv(name, value)
	}
	m.stats.Cold.Inc()
	in, err := m.instantiate(ctx, c, cfg)
	if err != nil {
		return nil, err
	}
	defer m.end(in)
	_, err = in.module.ExportedFunction("_start").Call(context.WithValue(ctx, callKey{}, c))
	if exit, ok := errors.AsType[*sys.ExitError](err); ok && exit.ExitCode() == 0 {
		err = nil
	}
	if c.err != nil {
		return nil, c.err
	}
	if err != nil {
		return nil, err
	}
	return parseCommandOutput(out.Bytes())
}

// maxCommandHead is the most bytes that a command may print before its body.
const maxCommandHead = 16 << 10

// queryWords returns the arguments of a query without "=" (RFC 3875, section 4.4): its
// words, decoded. Other queries have no arguments.
func queryWords(uri string) []string {
	_, query, _ := strings.Cut(uri, "?")
	if query == "" || strings.Contains(query, "=") {
		return nil
	}
	var words []string
	for word := range strings.SplitSeq(query, "+") {
		w, ok := decoded(word)
		if !ok || w == "" {
			return nil
		}
		words = append(words, w)
	}
	return words
}

// decoded removes percent-encoding. ok is false when the encoding is invalid, or when
// the text has a zero byte, which variables and arguments cannot have.
func decoded(s string) (text string, ok bool) {
	text, err := url.PathUnescape(s)
	return text, err == nil && !strings.Contains(text, "\x00")
}

// serverOf returns SERVER_NAME and SERVER_PORT (RFC 3875, sections 4.1.14 and 4.1.15)
// from the Host field of the client.
func serverOf(h fields.Header) (name, port string) {
	host, _ := h.Get("host")
	name, port = string(host), "80"
	if i := strings.LastIndexByte(name, ':'); i >= 0 && i > strings.LastIndexByte(name, ']') {
		if p := name[i+1:]; p != "" {
			port = p
		}
		name = name[:i]
	}
	if name == "" {
		name = "localhost"
	}
	return name, port
}

// commandEnv returns the variables of RFC 3875, section 4.1, and REQUEST_URI with the
// target as received.
func commandEnv(q *Request) []string {
	raw, query, _ := strings.Cut(q.URI, "?")
	path, ok := decoded(raw) // section 4.1.5
	if !ok {
		path = raw
	}
	name, port := serverOf(q.Header)
	env := []string{
		"GATEWAY_INTERFACE=CGI/1.1", "SERVER_SOFTWARE=perto", "SERVER_PROTOCOL=" + q.Protocol, "SERVER_NAME=" + name, "SERVER_PORT=" + port,
		"REQUEST_METHOD=" + q.Method, "REQUEST_URI=" + q.URI, "PATH_INFO=" + path, "SCRIPT_NAME=", "QUERY_STRING=" + query,
	}
	remote := "" // empty behind the cache, where the request has no client
	if a := q.Source.Addr(); a.IsValid() {
		remote = a.String()
	}
	env = append(env, "REMOTE_ADDR="+remote)
	if len(q.Body) > 0 {
		env = append(env, "CONTENT_LENGTH="+strconv.Itoa(len(q.Body)))
	}
	if v, ok := q.Header.Get("content-type"); ok {
		env = append(env, "CONTENT_TYPE="+string(v))
	}
	for i, f := range q.Header {
		name := strings.ToUpper(strings.ReplaceAll(string(f.Name), "-", "_"))
		// A field named Proxy would become HTTP_PROXY, which programs use for another purpose
		// (CVE-2016-5385). A field with "_" in its name would become the variable of the field
		// with "-": a client could set X-Real-IP as X_Real_IP. All fields of one name become
		// one variable.
		if name == "PROXY" || name == "AUTHORIZATION" || bytes.IndexByte(f.Name, '_') >= 0 || hasName(q.Header[:i], f.Name) {
			continue
		}
		var values []string
		for _, g := range q.Header[i:] {
			if fields.EqualFold(g.Name, f.Name) {
				values = append(values, string(g.Value))
			}
		}
		separator := ", "
		if name == "COOKIE" {
			separator = "; " // RFC 9113, section 8.2.3
		}
		env = append(env, "HTTP_"+name+"="+strings.Join(values, separator))
	}
	return env
}

func hasName(h fields.Header, name []byte) bool {
	return slices.ContainsFunc(h, func(f fields.Field) bool { return fields.EqualFold(f.Name, name) })
}

// parseCommandOutput reads the response that a command has printed.
func parseCommandOutput(out []byte) (*Response, error) {
	r := &Response{Status: http.StatusOK}
	located := false
	for {
		line, rest, ok := bytes.Cut(out, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		name, value, colon := bytes.Cut(line, []byte(":"))
		switch {
		case !ok, len(line) > 0 && (!colon || !validName(name)), len(r.Header) >= maxFields:
			return nil, fmt.Errorf("%w: its output does not begin with header fields and an empty line", ErrTrap)
		case len(line) == 0:
			r.Body = rest
			if located && r.Status == http.StatusOK {
				r.Status = http.StatusFound
			}
			return r, nil
		}
		if out, value = rest, fields.Trim(value); !validValue(value) {
			return nil, fmt.Errorf("%w: the value of the field %q in its output has a control byte or is too long", ErrTrap, name)
		}
		if fields.Equal(name, "status") {
			code, _, _ := strings.Cut(string(value), " ")
			status, err := strconv.Atoi(code)
			if err != nil || status < 200 || status > 599 {
				return nil, fmt.Errorf("%w: it printed the invalid status %q", ErrTrap, value)
			}
			r.Status = status
			continue
		}
		located = located || fields.Equal(name, "location")
		r.Header = append(r.Header, fields.Field{Name: name, Value: value})
	}
}

// limited is a buffer that ends its call when it is full.
type limited struct {
	bytes.Buffer
	left int
	call *call
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		l.call.err = ErrResponse
		panic(guestError(ErrResponse.Error()))
	}
	return l.Buffer.Write(p)
}
