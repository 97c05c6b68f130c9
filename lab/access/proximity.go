package access

import "perto"

// Proximity compares the PoP that served a client with the PoP that is nearest to it. The
// nearest PoP is that with the shortest round trip, or that with the shortest distance
// where round trips are not known.
type Proximity struct {
	PoP        string       `json:"pop"`         // of the edge that served
	DistanceKm float64      `json:"distance_km"` // from the client to that PoP
	RTT        perto.Millis `json:"rtt_ms,omitempty"`

	Nearest           string       `json:"nearest_pop"`
	NearestPlace      string       `json:"nearest_place"`
	NearestDistanceKm float64      `json:"nearest_distance_km"`
	NearestRTT        perto.Millis `json:"nearest_rtt_ms,omitempty"`

	// Lost is the additional time of each round trip to the PoP that served.
	Lost perto.Millis `json:"lost_ms"`
}
