//go:build !unix

package netx

import (
	"errors"
	"os"
	"syscall"
)

// duplicate fails: this system passes no sockets to children.
func duplicate(syscall.Conn, Address) (*os.File, error) {
	return nil, errors.ErrUnsupported
}
