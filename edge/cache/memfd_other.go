//go:build !linux

package cache

import (
	"errors"
	"os"
)

// memoryFile is for systems with memfd_create; on others hits are sent from the
// chunks.
func memoryFile() (*os.File, error) { return nil, errors.ErrUnsupported }
