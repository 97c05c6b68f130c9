package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"perto"
	"perto/config"
)

// ensureData creates the folder for state that survives a restart.
func ensureData(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &perto.Error{Op: "create data folder", Path: dir, Kind: perto.KindInvalid, Err: pathCause(err),
			Hint: "create it for the user that runs perto, or set data = \"...\" in the node block"}
	}
	return nil
}

func pathCause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// dataWarnings returns one warning for each data folder that is missing, or is no
// folder, on the machine that checks the configuration.
func dataWarnings(nodes []config.Local) []string {
	users := make(map[string][]string) // nodes by folder
	var folders []string
	for _, n := range nodes {
		if n.Data == "" {
			continue
		}
		if users[n.Data] == nil {
			folders = append(folders, n.Data)
		}
		users[n.Data] = append(users[n.Data], n.Name)
	}
	var out []string
	for _, dir := range slices.Sorted(slices.Values(folders)) {
		names := strings.Join(users[dir], ", ")
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			out = append(out, fmt.Sprintf("data folder %s of %s does not exist on this machine; perto run creates it", dir, names))
		case err != nil:
			out = append(out, fmt.Sprintf("data folder %s of %s: %v", dir, names, pathCause(err)))
		case !info.IsDir():
			out = append(out, fmt.Sprintf("data folder %s of %s is a file; set data to a folder", dir, names))
		}
	}
	return out
}
