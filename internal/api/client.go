package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"perto"
)

// UnixPrefix begins the address of an API on a Unix socket: "unix:/run/perto.sock".
const UnixPrefix = "unix:"

// httpClient returns the client for an API, and the host of its URLs.
func httpClient(address string) (*http.Client, string) {
	path, ok := strings.CutPrefix(address, UnixPrefix)
	if !ok {
		return http.DefaultClient, address
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	return &http.Client{Transport: transport}, "localhost"
}

// Call sends a request to an API at "host:port" or "unix:PATH" and decodes the response
// into out. An error of the API keeps its kind and text. When there is no response, the
// error is of KindUnavailable and has the hint.
func Call(ctx context.Context, method, address, path string, query url.Values, out any, hint string) error {
	return CallWithToken(ctx, "", method, address, path, query, out, hint)
}

// CallWithToken is [Call] for an API that needs a token, unless token is "".
func CallWithToken(ctx context.Context, token, method, address, path string, query url.Values, out any, hint string) error {
	client, host := httpClient(address)
	u := url.URL{Scheme: "http", Host: host, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return &perto.Error{Op: "ask", Path: address, Kind: perto.KindInvalid, Err: err}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return &perto.Error{Op: "ask", Path: address, Kind: perto.KindUnavailable, Err: unwrapURL(err), Hint: hint}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var f Failure
		if json.NewDecoder(resp.Body).Decode(&f) != nil {
			return &perto.Error{Op: "ask", Path: address, Kind: perto.KindUnavailable, Err: fmt.Errorf("the API returned %s for %s", resp.Status, path)}
		}
		return &remoteError{f}
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func unwrapURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// remoteError is an error that an API reported, with its text.
type remoteError struct{ Failure }

func (r *remoteError) Error() string { return r.Failure.Error }

// Unwrap returns the error of its kind, for the exit code.
func (r *remoteError) Unwrap() error {
	for k := perto.KindInternal; k <= perto.KindUnavailable; k++ {
		if k.String() == r.Kind {
			return &perto.Error{Op: "remote", Kind: k}
		}
	}
	return nil
}
