package functions

import (
	"net/netip"
	"strings"
	"testing"

	"perto/internal/fields"
)

// variables are those that a command gets for a request.
func variables(q *Request) map[string]string {
	out := make(map[string]string)
	for _, v := range commandEnv(q) {
		name, value, _ := strings.Cut(v, "=")
		out[name] = value
	}
	return out
}

// TestACommandGetsNoFieldUnderTheNameOfAnother: "_" in a field's name would make it
// the variable of the field with "-".
func TestACommandGetsNoFieldUnderTheNameOfAnother(t *testing.T) {
	for _, header := range [][]string{
		{"X-Real-Ip", "good", "X_Real_Ip", "evil"}, {"X_Real_Ip", "evil", "X-Real-Ip", "good"},
		{"X-Real-Ip", "good", "X-Real_Ip", "evil"}, {"X-Real_Ip", "evil"}, {"x_real_ip", "evil"},
	} {
		q := &Request{Method: "GET", URI: "/", Source: netip.MustParseAddrPort("192.0.2.7:1"), Header: fields.Of(header...)}
		want := ""
		if fields.Of(header...).Has("x-real-ip") {
			want = "good"
		}
		if got := variables(q); got["HTTP_X_REAL_IP"] != want || strings.Contains(strings.Join(commandEnv(q), "\n"), "evil") {
			t.Errorf("%q: got %q", header, got)
		}
	}
}
