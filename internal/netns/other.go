//go:build !linux

package netns

import "errors"

// Namespace is a network namespace. Only Linux has them.
type Namespace struct{}

// New fails.
func New() (*Namespace, error) { return nil, errors.New("network namespaces need Linux") }

// Do is never called.
func (*Namespace) Do(f func() error) error { return errors.New("network namespaces need Linux") }

// FD is never called.
func (*Namespace) FD() int { return -1 }

// Close is never called.
func (*Namespace) Close() error { return nil }
