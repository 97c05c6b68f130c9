package mobility

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names of files in a Store's folder.
const (
	modulesDir   = "modules"
	releasesDir  = "releases"
	moduleExt    = ".wasm"
	releaseExt   = ".json"
	tempPrefix   = ".new-"    // a file that is being written; left by a crash, removed at the next start
	damagedAfter = ".damaged" // a damaged file: no longer read, never deleted
)

// newFile creates a temporary file. commit gives it its name when it is complete.
func newFile(dir string) (*os.File, error) { return os.CreateTemp(dir, tempPrefix+"*") }

// abandon closes and removes a file that was not committed.
func abandon(f *os.File) {
	f.Close()
	os.Remove(f.Name())
}

// commit renames a file to its name and replaces an older one. When it returns without
// error, the file survives a crash. When it fails, the old file stays.
func commit(f *os.File, path string) error {
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
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// writeFile replaces a whole file.
func writeFile(path string, data []byte) error {
	f, err := newFile(filepath.Dir(path))
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		abandon(f)
		return err
	}
	return commit(f, path)
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return data, err
}

// setAside renames a damaged file.
func setAside(path string) error { return os.Rename(path, path+damagedAfter) }

// listFiles creates a folder if it is missing and removes temporary files. It returns
// the names that end with ext, without ext.
func listFiles(dir, ext string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// The folders must survive a crash too. The Store's parent may be closed to this
	// process; then the Store's folder existed before.
	parent := filepath.Dir(dir)
	if err := syncDir(filepath.Dir(parent)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	if err := syncDir(parent); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			continue
		}
		if name, ok := strings.CutSuffix(e.Name(), ext); ok && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}
