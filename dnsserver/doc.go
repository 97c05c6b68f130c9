// Package dnsserver is the authoritative name server: sockets, the query path and its
// slow path.
//
//	packet -> wire.Parse -> View -> zone.Find --static--> copy the packed answer --> packet
//	             | odd                 \--service--> mapping: class -> answer --^
//	             v
//	          slow path on miekg/dns
//
// One immutable [View] holds all data of a query. Each query loads its pointer once, so
// [Server.SetView] may be called while the server runs. The engines (UDP and TCP over
// any netx.Network) share one handle function of (packet, source, out), so that faster
// engines can replace them. TCP connections are limited for the server and for each
// client. Start with [New] and [NewView].
package dnsserver
