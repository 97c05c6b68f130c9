package edge

import (
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	"perto/edge/cache"
	"perto/edge/rfc9111"
)

// BenchmarkCacheStatus writes the Cache-Status of a hit by hand and with httpsfv
// (docs/rationale.md#why-structured-fields-are-parsed-by-hand-on-the-hit-path).
func BenchmarkCacheStatus(b *testing.B) {
	dst := make([]byte, 0, 256)
	b.Run("hand", func(b *testing.B) {
		now := time.Now()
		o := &cache.Object{Policy: rfc9111.Policy{Lifetime: time.Minute, ReplyTime: now}}
		r := &request{e: &Edge{name: "perto-gru-1"}, progress: progress{now: now, object: o}}
		b.ReportAllocs()
		for b.Loop() {
			r.appendCacheStatus(dst)
		}
	})
	b.Run("httpsfv", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			item := httpsfv.NewItem(httpsfv.Token("perto-gru-1"))
			item.Params.Add("hit", true)
			item.Params.Add("ttl", int64(60))
			text, err := httpsfv.Marshal(httpsfv.List{item})
			if err != nil {
				b.Fatal(err)
			}
			_ = append(append(append(dst, "Cache-Status: "...), text...), "\r\n"...)
		}
	})
}
