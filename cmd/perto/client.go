package main

import (
	"net/url"

	"perto/internal/api"
)

// get sends a GET to the API and decodes the response into out.
func (e *env) get(path string, query url.Values, out any) error {
	return e.call("GET", path, query, out)
}

// post sends a POST to the API and decodes the response into out.
func (e *env) post(path string, query url.Values, out any) error {
	return e.call("POST", path, query, out)
}

func (e *env) call(method, path string, query url.Values, out any) error {
	return api.Call(e.ctx, method, e.api, path, query, out, `is a lab or node running there? start one with "perto lab", or name another with --api`)
}
