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
	tempPrefix   = ".new-"    // being written; a crash leaves them, the next start removes them
	damagedAfter = ".damaged" // set aside: nobody reads it again, nobody deletes it
)

// newFile begins a file that takes its name only when it is complete: see commit.
func newFile(dir string) (*os.File, error) { return os.CreateTemp(dir, tempPrefix+"*") }

// abandon removes a file that is not to be.
func abandon(f *os.File) {
	f.Close()
	os.Remove(f.Name())
}

// commit gives a file its name, in the place of any that has it. When it returns, a
// crash does not undo it; when it fails, the old file stays.
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

// writeFile replaces a file as a whole.
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

// setAside takes a damaged file out of the way.
func setAside(path string) error { return os.Rename(path, path+damagedAfter) }

// listFiles makes a folder if need be, removes what a crash left half written, and
// returns the names with an ending, without it.
func listFiles(dir, ext string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// The folders too have to be there after a crash. The one above the Store is
	// not ours: it may be closed to us, and then we did not make the Store's.
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
