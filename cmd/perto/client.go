package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"perto"
	"perto/console"
)

// get asks the API and decodes the answer into out.
func (e *env) get(path string, query url.Values, out any) error {
	return e.call("GET", path, query, out)
}

// post asks the API to do something.
func (e *env) post(path string, query url.Values, out any) error {
	return e.call("POST", path, query, out)
}

func (e *env) call(method, path string, query url.Values, out any) error {
	u := url.URL{Scheme: "http", Host: e.api, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(e.ctx, method, u.String(), nil)
	if err != nil {
		return &perto.Error{Op: "ask", Path: e.api, Kind: perto.KindInvalid, Err: err}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return &perto.Error{Op: "ask", Path: e.api, Kind: perto.KindUnavailable, Err: unwrapURL(err),
			Hint: `is a lab or node running there? start one with "perto lab", or name another with --api`}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var f console.Failure
		if json.NewDecoder(resp.Body).Decode(&f) != nil {
			return &perto.Error{Op: "ask", Path: e.api, Kind: perto.KindUnavailable, Err: fmt.Errorf("the API answered %s to %s", resp.Status, path)}
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

// remoteError is an error that the API reported, in its own words.
type remoteError struct{ console.Failure }

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
