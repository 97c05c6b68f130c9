package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// serviceManager is the service manager that started this process, in the protocol of
// systemd's sd_notify(3): datagrams of lines to a Unix socket. Without one, tell does
// nothing.
type serviceManager struct {
	socket   string
	watchdog time.Duration // the manager restarts a service that is silent for this time; 0: never
}

// findServiceManager reads the environment. It removes the variables, so that children do
// not use them.
func findServiceManager() serviceManager {
	m := serviceManager{socket: os.Getenv("NOTIFY_SOCKET")}
	if micros, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && m.socket != "" {
		if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
			m.watchdog = time.Duration(micros) * time.Microsecond
		}
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(name) // these names are valid
	}
	return m
}

// tellTimeout is the longest time to wait for a service manager that does not read.
const tellTimeout = 100 * time.Millisecond

// tell sends lines such as "READY=1". A manager that cannot be reached does not matter to
// the service.
func (m *serviceManager) tell(lines ...string) {
	if m.socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", m.socket) // a name that begins with "@" is abstract
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(tellTimeout)) // a manager that hangs must not stop the service
	conn.Write([]byte(strings.Join(lines, "\n")))
}

// reloading tells that a reload begins. systemd wants the time of the monotonic clock with
// it.
func (m *serviceManager) reloading() {
	m.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", monotonicMicros()))
}
