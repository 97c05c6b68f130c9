package main

import (
	"strings"
	"testing"
)

// TestWrongAddressesAreErrorsOfUsage: a wrong port or address ends a command with exit code 2
// before it starts anything.
func TestWrongAddressesAreErrorsOfUsage(t *testing.T) {
	for args, want := range map[string]string{
		"lab --socks-port 99999":              "--socks-port is 99999; it takes a port from 1 to 65000",
		"lab up --dns-port 0":                 "--dns-port is 0; it takes a port from 1 to 65000",
		"lab --resolver-port=-1":              "--resolver-port is -1; it takes a port from 1 to 65000",
		"lab --socks-port many":               "--socks-port",
		"lab --api 127.0.0.1:99999":           "has no port from 0 to 65535",
		"lab --api unix:/tmp/x":               "a lab serves its API on IP:port",
		"--api nowhere status":                "it takes HOST:PORT",
		"--api unix: status":                  "the path of the socket is missing",
		"lab wan serve --listen 8090":         "it takes HOST:PORT",
		"fn dev x.wasm --listen 127.0.0.1:-1": "has no port from 0 to 65535",
	} {
		var out, diagnostics strings.Builder
		if code := run(t.Context(), strings.Fields(args), &out, &diagnostics); code != exitUsage || !strings.Contains(diagnostics.String(), want) || out.Len() > 0 || strings.Contains(diagnostics.String(), "starting") {
			t.Errorf("perto %s: exit code %d, %q, want %d and %q", args, code, diagnostics.String(), exitUsage, want)
		}
	}
}
