package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"perto/internal/api"
	"perto/lab/access"
)

// webURL is the URL of a page, with its scheme. On the command line "http://" may be left
// out.
type webURL string

// UnmarshalText reads a URL of the command line.
func (w *webURL) UnmarshalText(text []byte) error {
	u, err := access.ParseURL(string(text))
	if err != nil {
		return err
	}
	*w = webURL(u.String())
	return nil
}

// withScheme returns a URL that has a scheme: http when the text has none.
func withScheme(text string) string {
	if text == "" || strings.Contains(text, "://") {
		return text
	}
	return "http://" + text
}

// maxFirstPort leaves room for the doors that follow the first one.
const maxFirstPort = 65000

// checkFirstPorts checks flags with the first port of a row of doors.
func checkFirstPorts(flags map[string]int) error {
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if n := flags[name]; n < 1 || n > maxFirstPort {
			return fmt.Errorf("%s is %d; it takes a port from 1 to %d", name, n, maxFirstPort)
		}
	}
	return nil
}

// hostPort is an address to listen on or to connect to: "HOST:PORT".
type hostPort string

// UnmarshalText reads an address of the command line.
func (h *hostPort) UnmarshalText(text []byte) error {
	*h = hostPort(text)
	_, portText, err := net.SplitHostPort(string(text))
	if err != nil {
		return fmt.Errorf("%q is no address; it takes HOST:PORT", text)
	}
	if _, err := strconv.ParseUint(portText, 10, 16); err != nil {
		return fmt.Errorf("%q has no port from 0 to 65535", text)
	}
	return nil
}

// apiAddress is the address of an API: "HOST:PORT" or "unix:PATH".
type apiAddress string

// UnmarshalText reads an address of the command line or of PERTO_API.
func (a *apiAddress) UnmarshalText(text []byte) error {
	*a = apiAddress(text)
	if path, ok := strings.CutPrefix(string(text), api.UnixPrefix); ok {
		if path == "" {
			return errors.New("the path of the socket is missing")
		}
		return nil
	}
	return new(hostPort).UnmarshalText(text)
}
