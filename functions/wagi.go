package functions

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero/sys"
)

// runCommand runs a WASI command as CGI programs are run (RFC 3875, and WAGI): the
// request comes as environment variables and standard input, the answer is what it
// prints: header fields, an empty line, the body.
func (m *Module) runCommand(ctx context.Context, q *Request) (*Response, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := &limited{left: m.host.limits.Response + maxCommandHead, full: func() { stop(ErrResponse) }}
	logged := &call{module: m}
	cfg := m.moduleConfig().WithArgs(append([]string{m.Name}, queryWords(q.URI)...)...).
		WithStdin(bytes.NewReader(q.Body)).WithStdout(out).WithStderr(lineLog{logged})
	for _, v := range commandEnv(q) {
		name, value, _ := strings.Cut(v, "=")
		cfg = cfg.WithEnv(name, value)
	}
	mod, err := m.host.runtime.InstantiateModule(m.host.context(ctx), m.compiled, cfg)
	if mod != nil {
		mod.Close(context.Background())
	}
	if out.left < 0 {
		return nil, ErrResponse
	}
	if exit, ok := errors.AsType[*sys.ExitError](err); ok && exit.ExitCode() == 0 {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return parseCommandOutput(out.Bytes())
}

// maxCommandHead is room for the header fields that a command prints, in bytes.
const maxCommandHead = 16 << 10

// queryWords are the arguments that a query without "=" stands for (RFC 3875,
// section 4.4).
func queryWords(uri string) []string {
	_, query, _ := strings.Cut(uri, "?")
	if query == "" || strings.Contains(query, "=") {
		return nil
	}
	return strings.Split(query, "+")
}

// commandEnv returns the variables of RFC 3875, section 4.1.
func commandEnv(q *Request) []string {
	path, query, _ := strings.Cut(q.URI, "?")
	env := []string{
		"GATEWAY_INTERFACE=CGI/1.1", "SERVER_SOFTWARE=perto", "SERVER_PROTOCOL=" + q.Protocol, "REQUEST_METHOD=" + q.Method,
		"PATH_INFO=" + path, "SCRIPT_NAME=", "QUERY_STRING=" + query, "CONTENT_LENGTH=" + strconv.Itoa(len(q.Body)),
		"REMOTE_ADDR=" + q.Source.Addr().String(), "CONTENT_TYPE=" + q.Header.Get("Content-Type"),
	}
	for name, values := range q.Header {
		// A field named Proxy would become HTTP_PROXY, which programs take for
		// something else (CVE-2016-5385).
		if name == "Proxy" || name == "Authorization" {
			continue
		}
		env = append(env, "HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+strings.Join(values, ", "))
	}
	return env
}

// parseCommandOutput reads what a command has printed.
func parseCommandOutput(out []byte) (*Response, error) {
	r := bufio.NewReader(bytes.NewReader(out))
	head, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("%w: what it printed does not begin with header fields and an empty line", ErrTrap)
	}
	resp := newResponse()
	resp.Header = http.Header(head)
	if s := resp.Header.Get("Status"); s != "" {
		code, _, _ := strings.Cut(s, " ")
		if resp.Status, err = strconv.Atoi(code); err != nil || resp.Status < 200 || resp.Status > 599 {
			return nil, fmt.Errorf("%w: it printed the status %q", ErrTrap, s)
		}
		resp.Header.Del("Status")
	} else if resp.Header.Get("Location") != "" {
		resp.Status = http.StatusFound
	}
	resp.Body, err = io.ReadAll(r)
	return resp, err
}

// limited is a buffer that fails when it is full.
type limited struct {
	bytes.Buffer
	left int
	full func() // called then
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		l.full()
		return 0, ErrResponse
	}
	return l.Buffer.Write(p)
}

// lineLog logs what a command writes to its standard error.
type lineLog struct{ c *call }

func (l lineLog) Write(p []byte) (int, error) {
	l.c.log(1, bytes.TrimRight(p, "\n"))
	return len(p), nil
}
