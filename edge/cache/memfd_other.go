//go:build !linux

package cache

import (
	"errors"
	"os"
)

// memoryFile needs memfd_create. On systems without it, hits are sent from the
// chunks.
func memoryFile() (*os.File, error) { return nil, errors.ErrUnsupported }
