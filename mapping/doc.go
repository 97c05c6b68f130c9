// Package mapping decides who should serve whom. It is pure: functions of the
// geodata, the policy of a service and the [replicas.Fleet]; no sockets, no
// clock, no goroutines.
//
// Three tables change at three speeds:
//
//	geo      network -> cell                   days (package geodata)
//	Map      network -> (class, ECS scope)     with membership and fences
//	Answers  class -> slots -> answer          with health and load, in seconds
//
// A class is an interned ranking of a service's PoPs: all networks of a class
// are served alike whatever happens to health. Scopes come from joining
// neighbouring networks of one class, so they do not change when an edge dies.
//
// A policy is a chain of steps: filters (up, fence) take PoPs away, the rank
// (nearest) sorts them into bands of equally good ones, splits (shed, weight)
// divide a band's load and spill into the next. fence and nearest depend only on
// where the client is and are compiled into the Map; up, shed and weight depend
// on the Fleet and are compiled into Answers. A query only looks up.
package mapping
