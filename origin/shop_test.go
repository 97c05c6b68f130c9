package origin

import (
	"bytes"
	"encoding/json"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"perto/internal/netx"
)

func newShop(t *testing.T) *Shop {
	t.Helper()
	s, err := New(Config{Network: &netx.OS{}, Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(s *Shop, path string, header ...string) *http.Response {
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestResponsesHaveCacheControl(t *testing.T) {
	s := newShop(t)
	tests := []struct {
		path, cacheControl string
		status             int
	}{
		{"/", "s-maxage=60", 200}, {"/product/3", "s-maxage=60", 200}, {"/img/3.svg", "s-maxage=86400", 200}, {"/catalogue.json", "s-maxage=60", 200},
		{"/style.css", "s-maxage=86400", 200}, {"/greeting", "private, no-store", 200}, {"/download/book.txt", "s-maxage=86400", 200}, {"/healthz", "no-store", 200},
		{"/product/999", "s-maxage=10", 404}, {"/img/9x.svg", "s-maxage=10", 404}, {"/img/1.png", "s-maxage=10", 404},
	}
	for _, tt := range tests {
		resp := get(s, tt.path)
		if resp.StatusCode != tt.status || !strings.Contains(resp.Header.Get("Cache-Control"), tt.cacheControl) {
			t.Errorf("%s: got %d %q, want %d with %q", tt.path, resp.StatusCode, resp.Header.Get("Cache-Control"), tt.status, tt.cacheControl)
		}
		if shared := tt.status == 200 && strings.Contains(tt.cacheControl, "s-maxage"); shared && (resp.Header.Get("ETag") == "" || resp.Header.Get("Surrogate-Key") == "") {
			t.Errorf("%s: no entity tag or no surrogate key", tt.path)
		}
	}
}

func TestConditionalAndRangeRequests(t *testing.T) {
	s := newShop(t)
	etag := get(s, "/").Header.Get("ETag")
	if resp := get(s, "/", "If-None-Match", etag); resp.StatusCode != 304 {
		t.Errorf("same tag: got %d, want 304", resp.StatusCode)
	}
	resp := get(s, "/download/book.txt", "Range", "bytes=64-71")
	body, _ := io.ReadAll(resp.Body)
	if whole, _ := io.ReadAll(get(s, "/download/book.txt").Body); resp.StatusCode != 206 || string(body) != string(whole[64:72]) || len(whole) != bookBytes {
		t.Errorf("range: got %d %q", resp.StatusCode, body)
	}
}

func TestGreetingIsPersonalAndEscaped(t *testing.T) {
	body, _ := io.ReadAll(get(newShop(t), "/greeting", "Cookie", "name=Ana").Body)
	if !strings.Contains(string(body), "Good to see Ana.") {
		t.Errorf("got %s", body)
	}
	body, _ = io.ReadAll(get(newShop(t), "/greeting", "Cookie", "name=<script>").Body)
	if strings.Contains(string(body), "<script>") {
		t.Errorf("not escaped: %s", body)
	}
}

func TestShopServes(t *testing.T) {
	s := newShop(t)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	resp, err := http.Get("http://" + s.listeners[0].Addr().String() + "/catalogue.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list []Product
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || len(list) < 50 {
		t.Errorf("got %d products, error %v", len(list), err)
	}
}

// TestProducts: ids count from one, and names differ and need no escape in the pictures.
// The first eight stay the same, because pages and examples name them.
func TestProducts(t *testing.T) {
	list, err := Products()
	if err != nil {
		t.Fatal(err)
	}
	first := "Hammock Coffee, 500 g Clay filter Pandeiro Straw hat Cutting board Azulejo Seed box"
	var names []string
	seen := make(map[string]bool)
	for i, p := range list {
		names = append(names, p.Name)
		if seen[p.Name] || p.ID != i+1 || p.Cents <= 0 || p.Hue < 0 || p.Hue >= 360 || p.About == "" || strings.ContainsAny(p.Name, `&<>"`) {
			t.Errorf("%+v", p)
		}
		seen[p.Name] = true
	}
	if len(list) < 150 || strings.Join(names[:8], " ") != first {
		t.Errorf("%d products, %q", len(list), names[:8])
	}
}

// TestPhotos: all shops have the same photos. They are kept, and have the size of photos.
func TestPhotos(t *testing.T) {
	a, b := newShop(t), newShop(t)
	for _, id := range []int{1, 75, 150} {
		p := &a.list[id-1]
		one := a.photoOf(p)
		if !bytes.Equal(one, b.photoOf(p)) || &one[0] != &a.photoOf(p)[0] {
			t.Errorf("photo %d is another one the second time", id)
		}
		if n := len(one) >> 10; n < 100 || n > 300 {
			t.Errorf("photo %d has %d KiB", id, n)
		}
		img, err := png.Decode(bytes.NewReader(one))
		if err != nil || img.Bounds().Dx() != photoWidth || img.Bounds().Dy() != photoHeight {
			t.Errorf("photo %d: %v", id, err)
		}
	}
	if resp := get(a, "/photo/1.png"); resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "image/png" || !strings.Contains(resp.Header.Get("Cache-Control"), "s-maxage=86400") {
		t.Errorf("got %d %v", resp.StatusCode, resp.Header)
	}
	for _, path := range []string{"/photo/0.png", "/photo/151.png", "/photo/x.png", "/photo/1.svg", "/photo/1"} {
		if resp := get(a, path); resp.StatusCode != 404 {
			t.Errorf("%s: got %d", path, resp.StatusCode)
		}
	}
}
