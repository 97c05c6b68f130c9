//go:build !unix

package netx

import (
	"errors"
	"os"
	"syscall"
)

// duplicate fails, because passing sockets to children is not implemented on this
// system.
func duplicate(syscall.Conn, Address) (*os.File, error) {
	return nil, errors.ErrUnsupported
}
