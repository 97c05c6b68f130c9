package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"perto"
)

// Call asks an API at "host:port" and decodes its answer into out. What the API
// reports comes back as an error of the same kind, in its own words; that nobody
// answers is KindUnavailable, with hint.
func Call(ctx context.Context, method, address, path string, query url.Values, out any, hint string) error {
	u := url.URL{Scheme: "http", Host: address, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return &perto.Error{Op: "ask", Path: address, Kind: perto.KindInvalid, Err: err}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return &perto.Error{Op: "ask", Path: address, Kind: perto.KindUnavailable, Err: unwrapURL(err), Hint: hint}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var f Failure
		if json.NewDecoder(resp.Body).Decode(&f) != nil {
			return &perto.Error{Op: "ask", Path: address, Kind: perto.KindUnavailable, Err: fmt.Errorf("the API answered %s to %s", resp.Status, path)}
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

// remoteError is an error that an API reported, in its own words.
type remoteError struct{ Failure }

func (r *remoteError) Error() string { return r.Failure.Error }

// Unwrap gives the error its kind back, for the exit code.
func (r *remoteError) Unwrap() error {
	for k := perto.KindInternal; k <= perto.KindUnavailable; k++ {
		if k.String() == r.Kind {
			return &perto.Error{Op: "remote", Kind: k}
		}
	}
	return nil
}
