package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"perto/config"
	"perto/internal/netx"
)

// openPort is a port that firewalls must let through.
type openPort struct {
	Port     uint16   `json:"port"`
	Protocol string   `json:"protocol"` // "udp" or "tcp"
	Use      string   `json:"use"`
	From     string   `json:"from"` // the peers that send to it
	Nodes    []string `json:"nodes"`
}

// ports returns the ports of the machines of a configuration, without those on loopback.
func ports(cfg *config.Config) (out []openPort) {
	add := func(node, protocol, address, use, from string) {
		host, number, err := netx.SplitPort(address)
		if err != nil || number == 0 || strings.HasPrefix(host, "127.") || host == "::1" || host == "localhost" {
			return
		}
		i := slices.IndexFunc(out, func(p openPort) bool { return p.Port == number && p.Protocol == protocol && p.Use == use })
		if i < 0 {
			i = len(out)
			out = append(out, openPort{Port: number, Protocol: protocol, Use: use, From: from})
		}
		if !slices.Contains(out[i].Nodes, node) {
			out[i].Nodes = append(out[i].Nodes, node)
		}
	}
	const everywhere, machines, operators = "everywhere", "the other machines", "your monitoring"
	for _, n := range cfg.Nodes {
		if n.Roles.Has(config.RoleDNS) {
			for _, a := range n.DNS {
				add(n.Name, "udp", a, "DNS", everywhere)
				add(n.Name, "tcp", a, "DNS", everywhere)
			}
			if n.KeyFile != "" {
				add(n.Name, "udp", n.Heartbeat, "heartbeats", machines)
			}
		}
		if n.Roles.Has(config.RoleEdge) || n.Roles.Has(config.RoleOrigin) {
			for _, a := range n.HTTP {
				add(n.Name, "tcp", a, "HTTP", everywhere)
			}
		}
		if n.API != "" {
			add(n.Name, "tcp", n.API, "API and metrics", operators)
		}
	}
	return out
}

// printPorts writes the ports for the operator of a firewall.
func printPorts(w io.Writer, list []openPort) {
	fmt.Fprintln(w, "\nLet the firewalls pass:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range list {
		fmt.Fprintf(t, "  %s %d\t%s\tfrom %s\tto %s\n", strings.ToUpper(p.Protocol), p.Port, p.Use, p.From, strings.Join(p.Nodes, ", "))
	}
	t.Flush()
	if !slices.ContainsFunc(list, func(p openPort) bool { return p.Use == "API and metrics" }) {
		fmt.Fprintln(w, "The API and the metrics listen on loopback only; the key api of a node block changes that.")
	}
}
