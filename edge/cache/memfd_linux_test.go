package cache

import (
	"bytes"
	"io"
	"syscall"
	"testing"
)

// fileOf makes an object hot and returns the file of its body.
func fileOf(c *Cache, key string) *File {
	var m *File
	for range maxFreq + 1 {
		o, _ := c.Lookup([]byte(key), nil)
		m = o.File()
	}
	return m
}

func TestHotLargeBodyGetsFile(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20})
	o := &Object{Key: "a", Status: 200, Body: c.NewBody(-1)}
	want := bytes.Repeat([]byte("0123456789"), 10_000)
	if err := o.Body.Fill(bytes.NewReader(want)); err != nil || !c.Put(o) {
		t.Fatal(err)
	}
	put(t, c, "small", fileMinBytes-1)
	if o.File() != nil || fileOf(c, "small") != nil {
		t.Error("a cold or a small body has a file")
	}
	m := fileOf(c, "a")
	if m == nil || o.File() != m || c.Stats().Files != int64(len(want)) {
		t.Fatalf("file %v, %+v", m, c.Stats())
	}
	// A reply freshened by a 304 has the same body.
	fresh := &Object{Key: "a", Status: 200, Body: o.Body}
	c.Put(fresh)
	if fresh.File() != m {
		t.Error("the fresher object has lost the file")
	}
	// A purge does not wait for the users of the file, and does not close it under them.
	err := m.Use(func(fd uintptr) {
		if n := c.Purge([]byte("a")); n != 1 || c.Stats().Files != 0 {
			t.Errorf("purged %d, %+v", n, c.Stats())
		}
		got := make([]byte, len(want)+1)
		if n, err := syscall.Pread(int(fd), got, 0); err != nil || !bytes.Equal(got[:n], want) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	if err != nil {
		t.Error(err)
	}
	if m.Use(func(uintptr) { t.Error("a closed file is used") }) == nil || fresh.File() != nil {
		t.Error("the file outlived its objects")
	}
}

func TestFilesAreBounded(t *testing.T) {
	const size = 64 << 10
	c := New(Config{MaxBytes: 2 << 20})
	key := func(i int) string { return string(rune('a' + i)) }
	for i := range 20 {
		put(t, c, key(i), size)
		fileOf(c, key(i))
	}
	s := c.Stats()
	if s.Files == 0 || s.Files > 2<<20/fileShare || s.Bytes+s.Files > 2<<20 {
		t.Errorf("%+v", s)
	}
	for i := range 20 {
		c.Purge([]byte(key(i)))
	}
	if s := c.Stats(); s.Files != 0 || s.Objects != 0 || c.files.Load() != 0 {
		t.Errorf("after all were purged: %+v", s)
	}
}

// TestFailedFileIsNotTriedAgain: when the file cannot be made, the body is read from
// its chunks.
func TestFailedFileIsNotTriedAgain(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20})
	o := put(t, c, "a", fileMinBytes)
	o.Body.filed.failed = true
	if fileOf(c, "a") != nil {
		t.Error("tried again")
	}
	r, _ := o.Body.Follow()
	defer r.Close()
	if p, err := r.Next(); len(p) != fileMinBytes || err != nil {
		t.Errorf("%d bytes, %v", len(p), err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}
