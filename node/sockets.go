package node

import (
	"path/filepath"
	"slices"
	"strings"

	"perto/config"
	"perto/internal/netx"
)

// Sockets returns the addresses with fixed ports on which a machine listens. A parent
// process can open them and keep them while Nodes are replaced.
func Sockets(local *config.Local, heartbeats bool) []netx.Address {
	var out []netx.Address
	add := func(network string, addresses ...string) {
		for _, a := range addresses {
			x := netx.Address{Network: network, Address: a}
			if a != "" && !strings.HasSuffix(a, ":0") && !slices.Contains(out, x) {
				out = append(out, x)
			}
		}
	}
	if local.Roles.Has(config.RoleDNS) {
		add("udp", local.DNS...)
		add("tcp", local.DNS...)
		if heartbeats {
			add("udp", local.Heartbeat)
		}
	}
	if local.Roles.Has(config.RoleEdge) || local.Roles.Has(config.RoleOrigin) {
		add("tcp", local.HTTP...)
	}
	add("tcp", local.API)
	return out
}

// controlSocket is the name of a node's control socket in its data folder.
const controlSocket = "perto.sock"

// ControlSocket returns the path of a machine's control socket: the API with changes, for
// the owner only. It is "" for a machine without a data folder.
func ControlSocket(local *config.Local) string {
	if local.Data == "" {
		return ""
	}
	return filepath.Join(local.Data, controlSocket)
}
