// Package atomicfile replaces files as a whole: a reader, and a machine after a crash,
// sees the old file or the new one. Start with [Write]; [New], [Commit] and [Abandon] are
// for content that is written in pieces. The functions hold no state.
package atomicfile

import (
	"os"
	"path/filepath"
)

// TempPrefix begins the names of files that are being written. A crash leaves them; they
// are never read.
const TempPrefix = ".new-"

// New creates a file in the folder of its later name. Only its owner can read it. It gets
// its name by [Commit].
func New(dir string) (*os.File, error) { return os.CreateTemp(dir, TempPrefix+"*") }

// Abandon removes a file that is not wanted. After Commit it does nothing.
func Abandon(f *os.File) {
	f.Close()
	os.Remove(f.Name())
}

// Commit gives a file its name, in the place of an existing one. When it returns without
// an error, the change survives a crash. On an error the old file stays.
func Commit(f *os.File, path string) error {
	err := f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Write replaces a file, or creates it, with some content and permissions.
func Write(path string, data []byte, perm os.FileMode) error {
	f, err := New(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer Abandon(f)
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	return Commit(f, path)
}
