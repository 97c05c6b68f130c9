package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"perto/edge/rfc9111"
	"perto/internal/fields"
)

func put(t testing.TB, c *Cache, key string, size int, tags ...string) *Object {
	t.Helper()
	o := &Object{Key: key, Status: 200, Tags: tags, Body: c.BodyOf(make([]byte, size))}
	if !c.Put(o) {
		t.Fatalf("%s was not stored", key)
	}
	return o
}

func has(c *Cache, key string) bool {
	o, _ := c.Lookup([]byte(key), nil)
	return o != nil
}

// TestFillingIsBounded fills many large bodies at once while their clients read
// nothing.
func TestFillingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, bodies, size = 16 << 20, 32, 4 << 20
		rest := make(chan struct{})
		c := New(Config{MaxBytes: most})
		var readers []*Reader
		var fills sync.WaitGroup
		for range bodies {
			b := c.NewBody(size)
			r, _ := b.Follow()
			readers = append(readers, r)
			fills.Go(func() {
				// The origins are fast until shortly before the end.
				almost := io.LimitReader(new(zeros), size-1)
				if b.Fill(io.MultiReader(almost, readerFunc(func(p []byte) (int, error) { <-rest; return 1, nil }))) == nil {
					c.Put(&Object{Key: "x", Status: 200, Body: b})
				}
			})
		}
		synctest.Wait()
		if n := c.Stats().Filling; n > most/2+bodies*(window+maxChunk) {
			t.Errorf("%d bytes are held by bodies that fill, in a cache of %d", n, most)
		}
		close(rest)
		for _, r := range readers {
			n := 0
			p, err := r.Next()
			for ; err == nil; p, err = r.Next() {
				n += len(p)
			}
			if err != io.EOF && err != ErrAbandoned || n != size {
				t.Errorf("a reader got %d bytes and %v", n, err)
			}
			r.Close()
		}
		fills.Wait()
		if n := c.Stats().Filling; n != 0 {
			t.Errorf("%d bytes still count as filling", n)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestLookupFindsObject(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20})
	o := put(t, c, "a", 100)
	if got, _ := c.Lookup([]byte("a"), nil); got != o {
		t.Errorf("got %v, want the object", got)
	}
	if has(c, "b") {
		t.Error("found what was never put")
	}
	newer := put(t, c, "a", 50)
	if got, _ := c.Lookup([]byte("a"), nil); got != newer || c.Stats().Objects != 1 {
		t.Errorf("the newer one does not replace the older: %+v", c.Stats())
	}
}

func TestVariantsShareKey(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20})
	variant := func(lang string) *Object {
		req := fields.Of("Lang", lang)
		s, _ := rfc9111.NewSelector(fields.Of("Vary", "Lang"), req)
		o := &Object{Key: "k", Selector: s, Body: c.BodyOf([]byte(lang))}
		c.Put(o)
		return o
	}
	pt, en := variant("pt"), variant("en")
	for lang, want := range map[string]*Object{"pt": pt, "en": en, "de": nil} {
		got, near := c.Lookup([]byte("k"), fields.Of("Lang", lang))
		if got != want || (want == nil) != (near != nil) {
			t.Errorf("%s: got %v near %v, want %v", lang, got, near, want)
		}
	}
	for i := range 2 * defaultVariants {
		variant(fmt.Sprint(i))
	}
	if n := c.Stats().Objects; n != defaultVariants {
		t.Errorf("%d variants, want at most %d", n, defaultVariants)
	}
	if n := c.Purge([]byte("k")); n != defaultVariants || c.Stats().Objects != 0 || c.Stats().Bytes != 0 {
		t.Errorf("purge removed %d, left %+v", n, c.Stats())
	}
}

func TestMemoryIsBounded(t *testing.T) {
	const limit = 1 << 20
	c := New(Config{MaxBytes: limit})
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		put(t, c, fmt.Sprint(rng.IntN(2000)), rng.IntN(20000))
		c.Lookup(fmt.Append(nil, rng.IntN(2000)), nil)
		if s := c.Stats(); s.Bytes > limit || s.Objects == 0 {
			t.Fatalf("after %d: %+v", i, s)
		}
	}
	// The index and the queues must have the same objects.
	n := 0
	for i := range c.shards {
		for _, g := range c.shards[i].groups {
			for ; g != nil; g = g.next {
				n += len(g.variants)
			}
		}
	}
	if s := c.Stats(); s.Objects != n || s.Evictions == 0 {
		t.Errorf("index holds %d, queues %+v", n, s)
	}
}

func TestScanKeepsHotObjects(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20})
	for i := range 20 {
		key := fmt.Sprintf("hot%d", i)
		put(t, c, key, 10000)
		has(c, key)
		has(c, key)
	}
	for i := range 2000 {
		put(t, c, fmt.Sprintf("scan%d", i), 10000)
	}
	kept := 0
	for i := range 20 {
		if has(c, fmt.Sprintf("hot%d", i)) {
			kept++
		}
	}
	if kept < 18 {
		t.Errorf("%d of 20 hot objects survived a scan", kept)
	}
}

func TestGhostHitEntersMainQueue(t *testing.T) {
	c := New(Config{MaxBytes: 100 << 10})
	put(t, c, "again", 5000)
	for i := range 25 {
		put(t, c, fmt.Sprint(i), 5000)
	}
	if has(c, "again") {
		t.Fatal("still there")
	}
	if o := put(t, c, "again", 5000); o.queue != &c.main {
		t.Error("not in the main queue")
	}
}

func TestPurgeTagRemovesItsObjects(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20})
	put(t, c, "a", 1, "shop", "p1")
	put(t, c, "b", 1, "shop")
	put(t, c, "c", 1)
	if n := c.PurgeTag("shop"); n != 2 || has(c, "a") || has(c, "b") || !has(c, "c") {
		t.Errorf("purged %d", n)
	}
	if len(c.tags) != 0 {
		t.Errorf("tags left: %v", c.tags)
	}
}

func TestTruncatedBodyIsNotStored(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20})
	broken := errors.New("connection reset")
	for _, tc := range []struct {
		name   string
		length int64
		src    io.Reader
		want   error
	}{
		{"cut off", 10, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)), broken},
		{"short", 10, strings.NewReader("half"), io.ErrUnexpectedEOF},
		{"cut off, unknown length", -1, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)), broken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := c.NewBody(tc.length)
			if err := b.Fill(tc.src); !errors.Is(err, tc.want) {
				t.Errorf("Fill gave %v, want %v", err, tc.want)
			}
			if c.Put(&Object{Key: tc.name, Body: b}) || has(c, tc.name) {
				t.Error("half a body was stored")
			}
			r, _ := b.Follow()
			defer r.Close()
			if p, err := r.Next(); string(p) != "half" || err != nil {
				t.Errorf("reader got %q, %v", p, err)
			}
			if _, err := r.Next(); !errors.Is(err, tc.want) {
				t.Errorf("reader ended with %v, want %v", err, tc.want)
			}
			if n := c.Stats().Filling; n != 0 {
				t.Errorf("%d bytes still count as filling", n)
			}
		})
	}
}

// TestReadersFollowFill reads one body while it arrives in pieces. Its readers start at
// different times and have different speeds.
func TestReadersFollowFill(t *testing.T) {
	c := New(Config{MaxBytes: 8 << 20})
	want := make([]byte, 1<<20)
	for i := range want {
		want[i] = byte(i * i >> 7)
	}
	for _, length := range []int64{-1, int64(len(want))} {
		b := c.NewBody(length)
		pr, pw := io.Pipe()
		var wg sync.WaitGroup
		follow := func() {
			r, ok := b.Follow()
			if !ok {
				t.Error("cannot follow")
				return
			}
			defer r.Close()
			var got []byte
			for {
				p, err := r.Next()
				got = append(got, p...)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("a reader got %d other bytes", len(got))
			}
		}
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(3, 4))
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+rng.IntN(60000))
				pw.Write(rest[:n])
				rest = rest[n:]
				wg.Go(follow)
			}
			pw.Close()
		})
		if err := b.Fill(pr); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		follow()
		if !c.Put(&Object{Key: "k", Body: b}) {
			t.Error("not stored")
		}
		chunks, n, ok := b.Whole()
		if !ok || n != int64(len(want)) || !bytes.Equal(bytes.Join(chunks, nil), want) {
			t.Errorf("whole: %d bytes, %v", n, ok)
		}
	}
}

func TestSlowReaderDoesNotSlowFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{MaxBytes: 8 << 20})
		b := c.NewBody(-1)
		r, _ := b.Follow() // a reader that never reads
		defer r.Close()
		if err := b.Fill(bytes.NewReader(make([]byte, 1<<20))); err != nil {
			t.Fatal(err)
		}
	})
}

// TestTooLargeBodyPassesThrough sends a body through a window: its reader gets all of
// it, and it is not stored.
func TestTooLargeBodyPassesThrough(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20, MaxObjectBytes: 64 << 10})
	const size = 8 << 20
	b := c.NewBody(-1)
	r, _ := b.Follow()
	ended := make(chan error)
	go func() { ended <- b.Fill(io.LimitReader(new(zeros), size)) }()
	got, most := 0, int64(0)
	for {
		p, err := r.Next()
		got += len(p)
		b.mu.Lock()
		most = max(most, b.capacity)
		b.mu.Unlock()
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
	}
	r.Close()
	if err := <-ended; err != ErrAbandoned || got != size || most > window+2*maxChunk {
		t.Errorf("%v: %d bytes came through, at most %d were held", err, got, most)
	}
	if c.Put(&Object{Key: "k", Body: b}) || c.Stats().Filling != 0 {
		t.Error("stored, or still counted")
	}
	if _, ok := b.Follow(); ok {
		t.Error("its beginning is gone, yet it can be followed")
	}
}

func TestTooLargeBodyEndsWithLastReader(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20, MaxObjectBytes: 64 << 10})
	b := c.NewBody(-1)
	r, _ := b.Follow()
	ended := make(chan error)
	go func() { ended <- b.Fill(zeros{}) }()
	r.Next()
	r.Close()
	if err := <-ended; err != ErrAbandoned {
		t.Errorf("got %v, want ErrAbandoned", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestLookupAllocatesNothing(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20})
	put(t, c, "key", 100)
	key := []byte("key")
	if n := testing.AllocsPerRun(100, func() {
		o, _ := c.Lookup(key, nil)
		o.Body.Whole()
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	c := New(Config{MaxBytes: 256 << 10})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			for range 500 {
				key := fmt.Sprint(rng.IntN(100))
				switch rng.IntN(10) {
				case 0:
					c.Purge([]byte(key))
				case 1:
					c.PurgeTag("t")
				case 2, 3:
					c.Put(&Object{Key: key, Tags: []string{"t"}, Body: c.BodyOf(make([]byte, rng.IntN(9000)))})
				default:
					has(c, key)
				}
			}
		})
	}
	wg.Wait()
	c.PurgeTag("t")
	if s := c.Stats(); s.Objects != 0 || s.Bytes != 0 {
		t.Errorf("left over: %+v", s)
	}
}

func BenchmarkLookup(b *testing.B) {
	c := New(Config{MaxBytes: 64 << 20})
	keys := make([][]byte, 10000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "www.shop.example\x00/products/%d", i)
		c.Put(&Object{Key: string(keys[i]), Body: c.BodyOf(make([]byte, 1000))})
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if o, _ := c.Lookup(keys[i%len(keys)], nil); o == nil {
			b.Fatal("miss")
		}
		i += 7
	}
}

func TestResizeEvictsAtOnce(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20})
	for i := range 8 {
		put(t, c, fmt.Sprint(i), 100<<10)
	}
	c.Resize(Config{MaxBytes: 400 << 10})
	if s := c.Stats(); s.Objects == 0 || s.Bytes > 400<<10 {
		t.Errorf("after shrinking: %d objects of %d bytes, want some of at most %d bytes", s.Objects, s.Bytes, 400<<10)
	}
	if got := c.MaxObjectBytes(); got != 100<<10 {
		t.Errorf("the largest object: got %d, want a quarter of the cache", got)
	}
	c.Resize(Config{MaxBytes: 2 << 20})
	before := c.Stats().Objects
	for i := range 8 {
		put(t, c, fmt.Sprint("more", i), 100<<10)
	}
	if got := c.Stats().Objects; got != before+8 {
		t.Errorf("after growing: %d objects, want %d", got, before+8)
	}
}

func TestResizeChangesVariants(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20})
	variants := func(n int) int {
		for i := range n {
			request := fields.Of("Lang", fmt.Sprint(i))
			s, _ := rfc9111.NewSelector(fields.Of("Vary", "Lang"), request)
			c.Put(&Object{Key: "k", Selector: s, Body: c.BodyOf([]byte("x"))})
		}
		return len(c.Variants([]byte("k")))
	}
	if got := variants(10); got != 10 {
		t.Fatalf("%d variants, want 10", got)
	}
	c.Resize(Config{MaxBytes: 1 << 20, MaxVariants: 3})
	if got := variants(1); got != 3 || c.Stats().Objects != 3 {
		t.Errorf("after shrinking: %d variants of %d objects, want 3", got, c.Stats().Objects)
	}
	c.Resize(Config{MaxBytes: 1 << 20, MaxVariants: 100})
	if got := variants(100); got != 100 {
		t.Errorf("after growing: %d variants, want 100", got)
	}
}
