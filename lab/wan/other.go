//go:build !linux

package wan

import (
	"errors"
	"runtime"

	"perto"
)

func needsLinux(op string) error {
	return &perto.Error{Op: op, Kind: perto.KindUnavailable, Err: errors.New("not on " + runtime.GOOS),
		Hint: `the wan between containers needs Linux; "perto lab" shows the same world in one process everywhere`}
}

// Device is a TUN device; only Linux has those that the wan can use.
type Device struct{}

// OpenDevice fails: see the package's comment.
func OpenDevice(name string, regions []Region) (*Device, error) {
	return nil, needsLinux("make device " + name)
}

// Read is never called.
func (*Device) Read([]byte) (int, error) { return 0, needsLinux("read from device") }

// Write is never called.
func (*Device) Write([]byte) (int, error) { return 0, needsLinux("write to device") }

// Close is never called.
func (*Device) Close() error { return nil }

// AddRoutes fails: see the package's comment.
func AddRoutes([]Route) error { return needsLinux("add routes") }

// DropPrivileges fails: see the package's comment.
func DropPrivileges(User) error { return needsLinux("drop privileges") }

// Exec fails: see the package's comment.
func Exec(path string, args, environ []string) error { return needsLinux("execute " + path) }
