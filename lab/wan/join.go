package wan

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"perto"
)

// Route is a route to a network.
type Route struct {
	Net netip.Prefix
	Via netip.Addr // the wan's address in the container's own region
}

// ParseRoute reads "NET=VIA", such as "198.18.0.0/15=198.18.1.254". Errors are of
// KindInvalid.
func ParseRoute(text string) (Route, error) {
	left, right, _ := strings.Cut(text, "=")
	network, err := netip.ParsePrefix(left)
	via, err2 := netip.ParseAddr(right)
	switch {
	case err != nil || err2 != nil:
		err = errors.New("it takes NET=VIA, such as 198.18.0.0/15=198.18.1.254")
	case network != network.Masked():
		err = fmt.Errorf("bits are set beyond the length; do you mean %s?", network.Masked())
	case network.Addr().Is4() != via.Is4() || via.Zone() != "":
		err = errors.New("both sides must be IPv4, or both IPv6 without a zone")
	}
	if err != nil {
		return Route{}, &perto.Error{Op: "read route", Path: strconv.Quote(text), Kind: perto.KindInvalid, Err: err}
	}
	return Route{network, via}, nil
}

// User is the user and group of a process after it dropped its privileges.
type User struct{ UID, GID int }

// DefaultUser is the usual unprivileged user of images without a user database.
const DefaultUser = "65532:65532"

// ParseUser reads "UID:GID", or "UID" for both. It refuses root, because that would
// drop no privileges. Errors are of KindInvalid.
func ParseUser(text string) (User, error) {
	left, right, both := strings.Cut(text, ":")
	if !both {
		right = left
	}
	uid, err := strconv.ParseUint(left, 10, 31)
	gid, err2 := strconv.ParseUint(right, 10, 31)
	switch {
	case err != nil || err2 != nil:
		err = errors.New("it takes UID:GID in numbers, such as " + DefaultUser)
	case uid == 0 || gid == 0:
		err = errors.New("user and group must not be 0: that would drop nothing")
	}
	if err != nil {
		return User{}, &perto.Error{Op: "drop privileges to", Path: strconv.Quote(text), Kind: perto.KindInvalid, Err: err}
	}
	return User{int(uid), int(gid)}, nil
}
