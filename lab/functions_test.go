package lab

import (
	"bytes"
	"encoding/json"
	"image/png"
	"strings"
	"testing"
)

// TestShopFunctions checks that the shop's functions run near the client. Prices have
// its currency, and thumbnails are stored at its edge.
func TestShopFunctions(t *testing.T) {
	l := sharedLab(t)
	fetch := func(vantage, path string) *Fetched {
		t.Helper()
		v, err := l.Vantage(vantage)
		if err != nil {
			t.Fatal(err)
		}
		f, err := v.Fetch(t.Context(), "http://www.shop.example"+path)
		if err != nil || f.Status != 200 {
			t.Fatalf("%s from %s: %+v, %v", path, vantage, f, err)
		}
		return f
	}
	for vantage, currency := range map[string]string{"sao-paulo": "BRL", "tokyo": "JPY", "london": "GBP", "nairobi": "KES"} {
		var prices struct{ Currency string }
		if f := fetch(vantage, "/prices"); json.Unmarshal(f.Body, &prices) != nil || prices.Currency != currency {
			t.Errorf("%s pays in %s, want %s", vantage, prices.Currency, currency)
		}
	}
	if f := fetch("paris", "/search?q=caf%C3%A9"); !strings.Contains(string(f.Body), "Café da serra") {
		t.Errorf("the search found %s", f.Body)
	}
	first := fetch("mumbai", "/thumb/160/photo/3.png")
	again := fetch("mumbai", "/thumb/160/photo/3.png")
	small, err := png.Decode(bytes.NewReader(first.Body))
	if err != nil || small.Bounds().Dx() != 160 || !bytes.Equal(first.Body, again.Body) {
		t.Errorf("a thumbnail: %d bytes, %v", len(first.Body), err)
	}
	if story := again.Header.Get("Cache-Status"); !strings.Contains(story, "; hit") {
		t.Errorf("the second time: %s", story)
	}
}
