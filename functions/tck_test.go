package functions

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"perto/internal/fields"
)

// TestCompatibility has the cases of the ABI's public compatibility kit
// (http-wasm-host-go, folder tck). Each case calls one host function and lets the
// request pass. The next handler returns the request that reached it, together with the
// guest's own response. The kit's own module passes these cases too.
func TestCompatibility(t *testing.T) {
	m := load(t, "handler", HostConfig{}, ModuleOptions{})
	next := func(q *Request) (*Response, error) {
		a := &Response{Status: 200}
		var seen []string
		for _, f := range q.Header {
			if n := strings.ToLower(string(f.Name)); !strings.HasPrefix(n, "x-") {
				seen = append(seen, n+"="+string(f.Value))
			}
		}
		a.Header = fields.Of("x-method", q.Method, "x-uri", q.URI, "x-fields", strings.Join(seen, " "))
		return a, nil
	}
	type want map[string]string // "body", or a field of the response
	for _, tt := range []struct {
		method, uri, body string
		header            []string
		want              want
	}{
		{"GET", "/", "", []string{"x-do", "protocol"}, want{"body": "HTTP/1.1"}},
		{"GET", "/", "", []string{"x-do", "method"}, want{"body": "GET"}},
		{"HEAD", "/", "", []string{"x-do", "method"}, want{"body": ""}}, // the kit's client reads no body
		{"POST", "/", "", []string{"x-do", "method"}, want{"body": "POST"}},
		{"PUT", "/", "", []string{"x-do", "method"}, want{"body": "PUT"}},
		{"DELETE", "/", "", []string{"x-do", "method"}, want{"body": "DELETE"}},
		{"CONNECT", "/", "", []string{"x-do", "method"}, want{"body": "CONNECT"}},
		{"OPTIONS", "/", "", []string{"x-do", "method"}, want{"body": "OPTIONS"}},
		{"TRACE", "/", "", []string{"x-do", "method"}, want{"body": "TRACE"}},
		{"PATCH", "/", "", []string{"x-do", "method"}, want{"body": "PATCH"}},
		{"GET", "/", "", []string{"x-do", "set method", "x-a", "POST"}, want{"x-method": "POST"}},
		{"GET", "/simple", "", []string{"x-do", "uri"}, want{"body": "/simple"}},
		{"GET", "/simple%26clean", "", []string{"x-do", "uri"}, want{"body": "/simple%26clean"}},
		{"GET", "/animal?name=panda", "", []string{"x-do", "uri"}, want{"body": "/animal?name=panda"}},
		{"GET", "/disney?name=chip%26dale", "", []string{"x-do", "uri"}, want{"body": "/disney?name=chip%26dale"}},
		{"GET", "/", "", []string{"x-do", "set uri", "x-a", "/simple"}, want{"x-uri": "/simple"}},
		{"GET", "/", "", []string{"x-do", "set uri", "x-a", "/simple%26clean"}, want{"x-uri": "/simple%26clean"}},
		{"GET", "/", "", []string{"x-do", "set uri", "x-a", "/animal?name=panda"}, want{"x-uri": "/animal?name=panda"}},
		{"GET", "/", "", []string{"x-do", "set uri", "x-a", "/disney?name=chip%26dale"}, want{"x-uri": "/disney?name=chip%26dale"}},
		{"GET", "/", "", []string{"x-do", "values", "x-a", "single-header", "single-header", "value"}, want{"body": "1 value|"}},
		{"GET", "/", "", []string{"x-do", "values", "x-a", "Single-Header", "sinGLE-header", "value"}, want{"body": "1 value|"}},
		{"GET", "/", "", []string{"x-do", "values", "x-a", "not-header"}, want{"body": "0 "}},
		{"GET", "/", "", []string{"x-do", "values", "x-a", "multi-header", "multi-header", "value1", "Multi-Header", "value2"}, want{"body": "2 value1|value2|"}},
		{"GET", "/", "", []string{"x-do", "names", "A-Header", "value1", "b-header", "2", "a-header", "3"}, want{"body": "a-header|b-header|x-do|"}},
		{"GET", "/", "", []string{"x-do", "set header", "x-a", "new-header", "x-b", "value", "existing-header", "bear"}, want{"x-fields": "existing-header=bear new-header=value"}},
		{"GET", "/", "", []string{"x-do", "set header", "x-a", "existing-header", "x-b", "value", "existing-header", "bear"}, want{"x-fields": "existing-header=value"}},
		{"GET", "/", "", []string{"x-do", "add header", "x-a", "new-header", "x-b", "value"}, want{"x-fields": "new-header=value"}},
		{"GET", "/", "", []string{"x-do", "add header", "x-a", "existing-header", "x-b", "value", "existing-header", "bear"}, want{"x-fields": "existing-header=bear existing-header=value"}},
		{"GET", "/", "", []string{"x-do", "remove header", "x-a", "new-header", "existing-header", "bear"}, want{"x-fields": "existing-header=bear"}},
		{"GET", "/", "", []string{"x-do", "remove header", "x-a", "existing-header", "Existing-Header", "bear"}, want{"x-fields": ""}},
		{"POST", "/", "", []string{"x-do", "body"}, want{"body": "0"}},
		{"POST", "/", strings.Repeat("a", 5), []string{"x-do", "body"}, want{"body": "5"}},
		{"POST", "/", strings.Repeat("a", 2048), []string{"x-do", "body"}, want{"body": "2048"}},
		{"POST", "/", strings.Repeat("a", 4096), []string{"x-do", "body"}, want{"body": "4096"}},
		{"POST", "/", strings.Repeat("a", 5000), []string{"x-do", "body"}, want{"body": "5000"}},
		{"GET", "/", "", []string{"x-do", "source"}, want{"body": "127.0.0.1:4321"}},
	} {
		q := &Request{Method: tt.method, URI: tt.uri, Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("127.0.0.1:4321"), Header: fields.Of(tt.header...), Body: []byte(tt.body)}
		a, err := m.Handle(t.Context(), q, next)
		name := fmt.Sprint(tt.method, tt.uri, tt.header)
		if err != nil || a.Status != 200 {
			t.Errorf("%s: %+v, %v", name, a, err)
			continue
		}
		tt.want["x-handled"] = "1"
		for key, v := range tt.want {
			got := field(a.Header, key)
			if key == "body" {
				got = string(a.Body)
			}
			if got != v {
				t.Errorf("%s: %s is %q, want %q", name, key, got, v)
			}
		}
	}
}
