// Package mapping decides which replicas serve which clients. It consists of pure
// functions of the geodata, the policy of a service and the [replicas.Fleet]. It has no
// sockets and no clock, and no goroutine outlives a call.
//
// Three tables change at three speeds:
//
//	geo      network -> cell                   days (package geodata)
//	Map      network -> (class, ECS scope)     with membership and fences
//	Answers  class -> slots -> answer          with health and load, in seconds
//
// A class is an interned ranking of a service's PoPs. All networks of a class get the
// same answers, independent of health. Scopes come from joining neighbouring networks
// of one class, or of several within a bound of regret. They do not change when an edge
// dies.
//
// A policy is a chain of steps. Filters (up, fence) remove PoPs. The rank (nearest)
// sorts them into bands of equally good ones. Splits (shed, weight) divide a band's
// load and spill into the next band. fence and nearest depend only on the client's
// location and are compiled into the Map. up, shed and weight depend on the Fleet and
// are compiled into Answers. A query only reads tables.
//
// [Map] and [Answers] are immutable and safe for concurrent use. Start with [NewMap],
// [Decide] and [Map.Locate].
package mapping
