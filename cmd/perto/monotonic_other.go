//go:build !linux

package main

// monotonicMicros returns 0: only systemd uses it.
func monotonicMicros() int64 { return 0 }
