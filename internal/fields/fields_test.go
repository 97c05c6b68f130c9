package fields

import (
	"slices"
	"testing"
)

func TestListMembers(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		want        []string
	}{
		{"plain", "a, b,c", []string{"a", "b", "c"}},
		{"empty members are skipped", ", a,, ,b,", []string{"a", "b"}},
		{"comma in a quoted string", `x="a, b", c`, []string{`x="a, b"`, "c"}},
		{"escaped quote", `x="a\", b", c`, []string{`x="a\", b"`, "c"}},
		{"unfinished quote reaches to the end", `x="a, b`, []string{`x="a, b`}},
		{"nothing", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for e := range List([]byte(tc.value)) {
				got = append(got, string(e))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestHeaderIgnoresCase(t *testing.T) {
	h := Of("Vary", "Foo", "VARY", "bar, BAZ", "X", "")
	if v, ok := h.Get("vary"); !ok || string(v) != "Foo" {
		t.Errorf("Get gave %q, %v", v, ok)
	}
	if !h.Contains("vary", "baz") || h.Contains("vary", "ba") || !h.Has("x") || h.Has("y") {
		t.Error("Contains or Has is wrong")
	}
	if got := string(h.Append(nil)); got != "Vary: Foo\r\nVARY: bar, BAZ\r\nX: \r\n" {
		t.Errorf("Append gave %q", got)
	}
}

func TestCloneOwnsItsBytes(t *testing.T) {
	buf := []byte("NameValue")
	h := Header{{Name: buf[:4], Value: buf[4:]}}.Clone()
	copy(buf, "xxxxxxxxx")
	if string(h[0].Name) != "Name" || string(h[0].Value) != "Value" {
		t.Errorf("the clone changed with the buffer: %s=%s", h[0].Name, h[0].Value)
	}
}

func TestSetAndWithout(t *testing.T) {
	h := Of("A", "1", "b", "2", "a", "3", "C", "4")
	if got := string(h.Set([]byte("a"), []byte("5")).Append(nil)); got != "A: 5\r\nb: 2\r\nC: 4\r\n" {
		t.Errorf("set: got %q", got)
	}
	h = Of("A", "1", "b", "2")
	if got := string(h.Set([]byte("D"), []byte("5")).Append(nil)); got != "A: 1\r\nb: 2\r\nD: 5\r\n" {
		t.Errorf("set a new field: got %q", got)
	}
	if got := string(Of("A", "1", "b", "2", "a", "3").Without([]byte("A")).Append(nil)); got != "b: 2\r\n" {
		t.Errorf("without: got %q", got)
	}
}
