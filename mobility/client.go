package mobility

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"perto"
)

// maxResponse is the most bytes that a Client reads of a response.
const maxResponse = 256 << 20

// Client calls the API of one node.
type Client struct {
	Base string       // "http://127.0.0.1:8080"
	HTTP *http.Client // nil: http.DefaultClient
}

// Apply applies a release at the node.
func (c Client) Apply(ctx context.Context, signed Signed) (Applied, error) {
	body, err := json.Marshal(signed)
	if err != nil {
		return Applied{}, err
	}
	var out Applied
	return out, c.callJSON(ctx, http.MethodPost, "/api/functions/releases", nil, body, &out)
}

// Put uploads a module that a release at the node names.
func (c Client) Put(ctx context.Context, digest string, wasm []byte) error {
	_, err := c.call(ctx, http.MethodPut, "/api/functions/modules/"+url.PathEscape(digest), nil, wasm, nil)
	return err
}

// Module downloads a module from the node.
func (c Client) Module(ctx context.Context, digest string) ([]byte, error) {
	wasm, err := c.call(ctx, http.MethodGet, "/api/functions/modules/"+url.PathEscape(digest), nil, nil, nil)
	if err == nil && Digest(wasm) != digest {
		return nil, &perto.Error{Op: "fetch module", Path: digest, Kind: perto.KindUnavailable, Err: errors.New("the received module has another digest")}
	}
	return wasm, err
}

// List returns the functions that should run on the node, and those that do.
func (c Client) List(ctx context.Context) (List, error) {
	var out List
	return out, c.callJSON(ctx, http.MethodGet, "/api/functions", nil, nil, &out)
}

// History returns the releases of a function, newest first.
func (c Client) History(ctx context.Context, service perto.Service, path string) ([]Release, error) {
	var out []Release
	q := url.Values{"service": {string(service)}, "path": {path}}
	return out, c.callJSON(ctx, http.MethodGet, "/api/functions/history", q, nil, &out)
}

// Logs returns the lines that a function logged after line number after, and the value
// of after for the next call. With wait it waits up to 10 s for the first line.
func (c Client) Logs(ctx context.Context, service perto.Service, path string, after uint64, wait bool) (lines []LogLine, next uint64, err error) {
	q := url.Values{"service": {string(service)}, "path": {path}, "after": {strconv.FormatUint(after, 10)}}
	if wait {
		q.Set("wait", "1")
	}
	var header http.Header
	text, err := c.call(ctx, http.MethodGet, "/api/functions/logs", q, nil, &header)
	if err != nil {
		return nil, after, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	for d.More() {
		var line LogLine
		if err := d.Decode(&line); err != nil {
			return lines, after, c.unclear(err)
		}
		lines = append(lines, line)
	}
	if next, err = strconv.ParseUint(header.Get(nextHeader), 10, 64); err != nil {
		return lines, after, c.unclear(err)
	}
	return lines, next, nil
}

func (c Client) unclear(err error) error {
	return &perto.Error{Op: "ask", Path: c.target(), Kind: perto.KindUnavailable, Err: fmt.Errorf("its response cannot be read: %w", err)}
}

// target returns the node's address without secrets, for errors.
func (c Client) target() string {
	if u, err := url.Parse(c.Base); err == nil {
		return u.Redacted()
	}
	return "the node"
}

func (c Client) callJSON(ctx context.Context, method, path string, query url.Values, body []byte, out any) error {
	text, err := c.call(ctx, method, path, query, body, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return c.unclear(err)
	}
	return nil
}

// call sends a request and returns the body of the response. An error of the API keeps
// its kind and text. When there is no response, the error is of KindUnavailable.
func (c Client) call(ctx context.Context, method, path string, query url.Values, body []byte, header *http.Header) ([]byte, error) {
	fail := func(kind perto.Kind, err error) ([]byte, error) {
		return nil, &perto.Error{Op: "ask", Path: c.target(), Kind: kind, Err: err}
	}
	address := strings.TrimSuffix(c.Base, "/") + path
	if query != nil {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return fail(perto.KindInvalid, reason(err))
	}
	if method == http.MethodPut {
		req.Header.Set("Expect", "100-continue") // so that a rejection arrives before the module is sent
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return fail(perto.KindUnavailable, reason(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return fail(perto.KindUnavailable, err)
	}
	if len(text) > maxResponse {
		return fail(perto.KindUnavailable, fmt.Errorf("its response has more than %d bytes", maxResponse))
	}
	if resp.StatusCode/100 != 2 {
		var f struct{ Error, Kind string } // as api.Failure
		if json.Unmarshal(text, &f) != nil || f.Error == "" {
			return fail(perto.KindUnavailable, fmt.Errorf("the API returned %s for %s", resp.Status, path))
		}
		return nil, remoteError{f.Error, f.Kind}
	}
	if header != nil {
		*header = resp.Header
	}
	return text, nil
}

// remoteError is an error that an API reported, with its text.
type remoteError struct{ text, kind string }

func (r remoteError) Error() string { return r.text }

// Unwrap returns the error of its kind.
func (r remoteError) Unwrap() error {
	for k := perto.KindInternal; k <= perto.KindUnavailable; k++ {
		if k.String() == r.kind {
			return &perto.Error{Op: "remote", Kind: k}
		}
	}
	return nil
}
