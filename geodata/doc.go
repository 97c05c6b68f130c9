// Package geodata answers where an address is.
//
// A [Map] gives each IPv4 /24 and each IPv6 /48 a [Cell]: a small area of one
// country with a name and a representative point. Cells are what the mapper
// ranks edges for, so there are some ten thousand of them, not millions. The
// binary carries a map of the world ([World]); [Open] takes the user's own, as
// an MMDB of either common schema or compiled before.
//
//	MMDB ──read──► networks ──cover──► cells ──prune──► ranges ──► Map
//	               (millions)          (28 km)          │           │
//	                                                    └──Write────┴──Read
//
// Compiling loses precision on purpose and says how much ([Report]): points
// closer than the radius share a cell, and a network is split only where that
// moves enough addresses far enough. Cells never cross a border, and neither
// does a joined network: the country is as right as the source's.
//
// A Map never changes and is safe for concurrent use. [Map.WithOverrides]
// makes a new one. Whoever reloads opens the new file first and swaps its
// pointer only on success; on an error the old Map goes on serving:
//
//	m, err := geodata.Open(path)
//	if err != nil {
//		return err // the old map stays in place
//	}
//	current.Store(m)
//
// [Cities] is the other direction: from the name of a city to its place.
//
// Formats: docs/formats/geodata.md. Licences of the data: NOTICE.
package geodata

// Attribution is what a page that shows results of the embedded map must say
// and link to (CC BY 4.0; the wording is DB-IP's, the link [AttributionURL]).
const Attribution = "IP Geolocation by DB-IP"

// AttributionURL is where [Attribution] must link to.
const AttributionURL = "https://db-ip.com"

// CitiesAttribution is the same for the names and places of cities.
const CitiesAttribution = "City data by GeoNames (https://www.geonames.org), CC BY 4.0"
