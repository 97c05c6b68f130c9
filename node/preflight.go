package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"perto"
	"perto/config"
	"perto/internal/api"
	"perto/internal/netx"
	"perto/replicas"
)

// Preflight checks the parts of a configuration that depend on this machine. A key file
// that cannot be used is an error. A data folder that cannot be written, and addresses
// that cannot be bound, are warnings: the check may run as another user, or while the
// node runs.
func Preflight(ctx context.Context, local *config.Local) (warnings []string, err error) {
	if local.KeyFile != "" {
		if _, err := replicas.LoadKeys(local.KeyFile); err != nil {
			return nil, err
		}
		if info, err := os.Stat(local.KeyFile); err == nil && info.Mode().Perm()&0o027 != 0 {
			warnings = append(warnings, fmt.Sprintf("key file %s can be read by other users, or changed by its group; chmod 640 %[1]s", local.KeyFile))
		}
	}
	if local.TokenFile != "" {
		if _, err := api.ReadToken(local.TokenFile); err != nil {
			return nil, err
		}
	}
	if w := writable(local.Data); w != "" {
		warnings = append(warnings, w)
	}
	for _, a := range Sockets(local, local.KeyFile != "") {
		var s netx.Sockets
		err := s.Open(ctx, []netx.Address{a})
		s.Close()
		switch {
		case err == nil:
		case errors.Is(err, syscall.EADDRINUSE):
			warnings = append(warnings, fmt.Sprintf("%s %s is in use, by this node or by another process", a.Network, a.Address))
		case errors.Is(err, fs.ErrPermission):
			warnings = append(warnings, fmt.Sprintf("%s %s may not be opened by this user; ports below 1024 take CAP_NET_BIND_SERVICE", a.Network, a.Address))
		default:
			warnings = append(warnings, fmt.Sprintf("%s %s cannot be opened: %v", a.Network, a.Address, err))
		}
	}
	return warnings, nil
}

// writable returns a warning when no file can be created in an existing folder.
func writable(dir string) string {
	if dir == "" {
		return ""
	}
	f, err := os.CreateTemp(dir, ".perto-check-*")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "" // perto run creates it
	case err != nil:
		return fmt.Sprintf("data folder %s cannot be written: %v", dir, pathCause(err))
	}
	f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return (&perto.Error{Op: "remove", Path: f.Name(), Err: err}).Error()
	}
	return ""
}
