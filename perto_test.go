package perto

import "testing"

func TestCanonicalName(t *testing.T) {
	for name, want := range map[string]string{
		"": "", ".": "", "WWW.Shop.Example.": "www.shop.example", "a.b": "a.b", "\xfeÉ.X": "\xfeÉ.x",
	} {
		if got := CanonicalName(name); got != want {
			t.Errorf("CanonicalName(%q): got %q, want %q", name, got, want)
		}
	}
}
