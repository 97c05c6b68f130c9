package mapping

import (
	"time"

	"perto"
	"perto/geodata"
	"perto/replicas"
)

// Clients are clients that a map treats alike: a cell, or the middle of a class.
type Clients struct {
	Cell  geodata.Cell // 0 when they are no single cell
	Place perto.Place
}

// RTT is a source of round-trip times. It writes the times between clients and all sites
// into row, in the order of the sites. Rankings, explanations and the class of unknown
// addresses read one source, so that a measured time replaces an estimate everywhere.
type RTT func(row []time.Duration, from Clients, sites []replicas.Site)

// PriorRTT is the source without measurements. It estimates from the great circle
// ([perto.PriorRTT]).
func PriorRTT(row []time.Duration, from Clients, sites []replicas.Site) {
	for i := range sites {
		row[i] = perto.PriorRTT(from.Place.DistanceKm(sites[i].Place))
	}
}
