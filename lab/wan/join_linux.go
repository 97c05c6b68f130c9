package wan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"perto"
)

// AddRoutes adds routes to the calling thread's network namespace, and replaces
// existing routes to the same networks. It needs CAP_NET_ADMIN. Errors are of
// KindUnavailable.
func AddRoutes(routes []Route) error {
	for _, r := range routes {
		route := &netlink.Route{Dst: ipNet(r.Net), Gw: r.Via.AsSlice()}
		if err := netlink.RouteReplace(route); err != nil {
			e := &perto.Error{Op: "add route", Path: fmt.Sprintf("%s via %s", r.Net, r.Via), Kind: perto.KindUnavailable, Err: err}
			switch {
			case errors.Is(err, unix.EPERM):
				e.Hint = `a container needs user 0 and "cap_add: [NET_ADMIN]"`
			case errors.Is(err, unix.ENETUNREACH):
				e.Hint = "the wan's address must be in a network that this container is attached to"
			}
			return e
		}
	}
	return nil
}

// DropPrivileges makes all threads of the process run as a user without capabilities,
// and checks the result. It needs CAP_SETUID and CAP_SETGID, and cannot be undone.
// Errors are of KindUnavailable. After an error only some privileges may be dropped, so
// the process should end.
func DropPrivileges(u User) error {
	fail := func(op string, err error) error {
		return &perto.Error{Op: op, Kind: perto.KindUnavailable, Err: err, Hint: `a container needs user 0 and "cap_add: [SETUID, SETGID]"`}
	}
	if os.Getuid() != u.UID || os.Getgid() != u.GID || os.Geteuid() != u.UID {
		if err := syscall.Setgroups([]int{}); err != nil {
			return fail("drop groups", err)
		}
		if err := syscall.Setresgid(u.GID, u.GID, u.GID); err != nil {
			return fail(fmt.Sprintf("become group %d", u.GID), err)
		}
		if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil { // the kernel clears the capabilities when root changes its user
			return fail(fmt.Sprintf("become user %d", u.UID), err)
		}
	}
	return checkDropped(u)
}

// checkDropped reads every thread's identity from the kernel, because a thread that
// kept a capability would be a security hole.
func checkDropped(u User) error {
	fail := func(path string, err error) error {
		return &perto.Error{Op: "check dropped privileges of", Path: path, Kind: perto.KindUnavailable, Err: err}
	}
	threads, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(threads) == 0 {
		return fail("/proc/self/task", errors.New("no thread found: /proc is not mounted"))
	}
	id := func(n int) string { return fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", n) } // real, effective, saved, of files
	const none = "0000000000000000"
	want := map[string]string{"Uid": id(u.UID), "Gid": id(u.GID), "Groups": "", "CapEff": none, "CapPrm": none, "CapAmb": none}
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return fail(path, err)
		}
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(line, ":")
			if expected, ok := want[name]; ok && strings.TrimSpace(value) != expected {
				return fail(path, fmt.Errorf("%s is %q", name, strings.TrimSpace(value)))
			}
		}
	}
	return nil
}

// Exec replaces the process by a command that cannot gain privileges, also not from a
// setuid program (no_new_privs). It returns only on failure, with an error of
// KindUnavailable.
func Exec(path string, args, environ []string) error {
	runtime.LockOSThread() // no_new_privs is an attribute of the thread
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return &perto.Error{Op: "give up new privileges for", Path: path, Kind: perto.KindUnavailable, Err: err}
	}
	return &perto.Error{Op: "execute", Path: path, Kind: perto.KindUnavailable, Err: syscall.Exec(path, args, environ)}
}
