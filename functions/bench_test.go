package functions

import (
	"os"
	"testing"
)

// BenchmarkHandle measures a call of the shop's greeting (C) and of the test guest (Go).
// It uses an idle instance, an instance that was reset to the image, and an instance
// that is newly made from the image.
func BenchmarkHandle(b *testing.B) {
	all, err := guests()
	if err != nil {
		b.Fatal(err)
	}
	greeting, err := os.ReadFile("../origin/functions/guests/greeting.wasm")
	if err != nil {
		b.Fatal(err)
	}
	for _, guest := range []struct {
		name, uri string
		wasm      []byte
	}{{"c", "/greeting", greeting}, {"go", "/hello", all["handler"]}} {
		for _, way := range []string{"pooled", "per-request", "made-anew"} {
			b.Run(guest.name+"/"+way, func(b *testing.B) {
				h, err := NewHost(b.Context(), HostConfig{})
				if err != nil {
					b.Fatal(err)
				}
				defer h.Close()
				o := ModuleOptions{}
				if way == "per-request" {
					o.Activation = PerRequest
				}
				m, err := h.Load(b.Context(), guest.name, guest.wasm, o)
				if err != nil {
					b.Fatal(err)
				}
				q := get(guest.uri)
				for b.Loop() {
					if r, err := m.Handle(b.Context(), q, nil); err != nil || r.Status != 200 {
						b.Fatal(r, err)
					}
					if way == "made-anew" {
						m.end(m.pool.idle[0])
						m.pool.idle = nil
					}
				}
			})
		}
	}
}
