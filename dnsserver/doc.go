// Package dnsserver is the authoritative name server: sockets, the query path
// and its slow path.
//
//	packet -> wire.Parse -> View -> zone.Find --static--> copy the packed answer --> packet
//	             | odd                 \--service--> mapping: class -> answer --^
//	             v
//	          slow path on miekg/dns
//
// Everything a query needs is in one immutable [View]; a query loads the pointer
// once. The engines (UDP and TCP over any netx.Network) share one handle
// function of (packet, source, out), so that faster engines can be put under it.
package dnsserver
