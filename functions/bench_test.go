package functions

import (
	"os"
	"testing"
)

// BenchmarkHandle is a call of the shop's greeting, in C, and of the test guest, in Go:
// by an instance that is idle, by a fresh one (an old one that became the image
// again), and by one that is made anew from the image.
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
