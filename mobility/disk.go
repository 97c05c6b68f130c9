package mobility

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"perto/internal/atomicfile"
)

// Names of files in a Store's folder.
const (
	modulesDir   = "modules"
	releasesDir  = "releases"
	moduleExt    = ".wasm"
	releaseExt   = ".json"
	damagedAfter = ".damaged" // a damaged file: no longer read, never deleted
)

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
	if err := atomicfile.SyncDir(filepath.Dir(parent)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	if err := atomicfile.SyncDir(parent); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), atomicfile.TempPrefix) {
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
