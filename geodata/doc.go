// Package geodata maps addresses to places.
//
// A [Map] gives each IPv4 /24 and each IPv6 /48 a [Cell]: a small area of one country
// with a name and a representative point. The mapper ranks edges for each cell, so a
// map has some ten thousand cells and not millions. The binary contains a map of the
// world ([World]). [Open] reads the user's own map, as an MMDB of either common schema
// or a compiled file.
//
//	MMDB ──read──► networks ──cover──► cells ──prune──► ranges ──► Map
//	               (millions)          (28 km)          │           │
//	                                                    └──Write────┴──Read
//
// Compiling loses precision on purpose, and a [Report] states how much. Points closer
// than the radius share a cell. A network is split only where that moves enough
// addresses far enough. Cells and joined networks never cross a border, so countries
// are as accurate as in the source.
//
// A Map never changes and is safe for concurrent use. [Map.WithOverrides] makes a new
// one. To reload, open the new file first and replace the pointer only on success.
// After an error, the old Map stays in use:
//
//	m, err := geodata.Open(path)
//	if err != nil {
//		return err // the old map stays in place
//	}
//	current.Store(m)
//
// [Cities] maps the other way, from the name of a city to its place.
//
// Start with [World], [Map.Lookup] and [Map.Place]. Formats: docs/formats/geodata.md.
// Licences of the data: NOTICE.
package geodata

// Attribution is the text that a page with results of the embedded map must show, with
// a link to [AttributionURL] (CC BY 4.0, in DB-IP's wording).
const Attribution = "IP Geolocation by DB-IP"

// AttributionURL is the link of [Attribution].
const AttributionURL = "https://db-ip.com"

// CitiesAttribution is the required text for the names and places of cities.
const CitiesAttribution = "City data by GeoNames (https://www.geonames.org), CC BY 4.0"
