//go:build !linux

package wan

import (
	"errors"
	"runtime"

	"perto"
)

func needsLinux(op string) error {
	return &perto.Error{Op: op, Kind: perto.KindUnavailable, Err: errors.New("not supported on " + runtime.GOOS),
		Hint: `the wan between containers needs Linux; "perto lab" shows the same world in one process everywhere`}
}

// Device is a TUN device, which the wan supports on Linux only.
type Device struct{}

// OpenDevice returns an error, because it needs Linux.
func OpenDevice(name string, regions []Region) (*Device, error) {
	return nil, needsLinux("make device " + name)
}

// Read is never called.
func (*Device) Read([]byte) (int, error) { return 0, needsLinux("read from device") }

// Write is never called.
func (*Device) Write([]byte) (int, error) { return 0, needsLinux("write to device") }

// Close is never called.
func (*Device) Close() error { return nil }

// AddRoutes returns an error, because it needs Linux.
func AddRoutes([]Route) error { return needsLinux("add routes") }

// DropPrivileges returns an error, because it needs Linux.
func DropPrivileges(User) error { return needsLinux("drop privileges") }

// Exec returns an error, because it needs Linux.
func Exec(path string, args, environ []string) error { return needsLinux("execute " + path) }
