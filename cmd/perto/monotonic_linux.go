package main

import "golang.org/x/sys/unix"

// monotonicMicros returns the time of the kernel's monotonic clock in microseconds.
func monotonicMicros() int64 {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return now.Nano() / 1000
}
