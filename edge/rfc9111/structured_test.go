package rfc9111

import (
	"testing"

	"github.com/dunglas/httpsfv"

	"perto/internal/fields"
)

// BenchmarkTargeted parses one CDN-Cache-Control field, as each fill with the field
// does.
func BenchmarkTargeted(b *testing.B) {
	h := fields.Of("CDN-Cache-Control", `max-age=600, stale-while-revalidate=30, stale-if-error=86400, private="set-cookie"`)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ParseTargeted(h); !ok {
			b.Fatal("not parsed")
		}
	}
}

// BenchmarkCacheControl parses one Cache-Control field by hand and with httpsfv.
func BenchmarkCacheControl(b *testing.B) {
	h := fields.Of("Cache-Control", "max-age=600, stale-while-revalidate=30")
	b.Run("hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ParseDirectives(h)
		}
	})
	b.Run("httpsfv", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v, _ := h.Get("cache-control")
			if _, err := httpsfv.UnmarshalDictionary([]string{string(v)}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
