package functions

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/tetratelabs/wazero/api"

	"perto"
	"perto/functions/rewrite"
)

// ownModule is the module with perto's own host functions. Guests can do without them.
// docs/functions.md describes them.
//
//	now() -> i64                         nanoseconds since 1970 UTC
//	edge_info(buf, limit) -> i32         the node that runs the function, as JSON
//	client_info(buf, limit) -> i32       the client and its place, as JSON
//	log(level, text, len)
//	kv_get(key, len, buf, limit) -> i32  read-only data of the function; -1: no such key
//	fetch(uri, len) -> i32               another path of the service: its status; < 0: failed
//	fetch_body(buf, limit) -> i64        the next part of its body, as read_body
const ownModule = rewrite.YieldModule

// Self describes the node that runs modules. edge_info returns it.
type Self struct {
	Name      string `json:"name"` // "gru-1"
	PoP       string `json:"pop"`
	City      string `json:"city"`
	Country   string `json:"country"`
	Placement string `json:"placement"` // "edge", "origin"; also "browser" and "here", outside of a CDN
}

// clientInfo is the result of client_info. When the client's place is unknown, Country
// is empty.
type clientInfo struct {
	Address netip.Addr `json:"address"`
	City    string     `json:"city"`
	Country string     `json:"country"`
	Lat     float64    `json:"lat"`
	Lon     float64    `json:"lon"`
}

// Results of fetch that are not a status.
const (
	fetchFailed  = -1
	fetchLimited = -2 // the limit of subrequests is reached
)

func ownFunctions() []hostFunction {
	var list []hostFunction
	add := func(name string, params, results []api.ValueType, f hostFunc) {
		list = append(list, hostFunction{name, params, results, f})
	}
	add(rewrite.YieldName, nil, nil, func(c *call, _ api.Memory, _ []uint64) { c.yield() })
	add("now", nil, types(1, i64), func(_ *call, _ api.Memory, s []uint64) { s[0] = uint64(time.Now().UnixNano()) })
	add("edge_info", types(2, i32), types(1, i32), func(c *call, mem api.Memory, s []uint64) { give(mem, s, c.module.host.self) })
	add("client_info", types(2, i32), types(1, i32), func(c *call, mem api.Memory, s []uint64) { give(mem, s, c.clientInfo()) })
	add("log", types(3, i32), nil, func(c *call, mem api.Memory, s []uint64) { c.log(int32(s[0]), view(mem, s[1], s[2])) })
	add("kv_get", types(4, i32), types(1, i32), func(c *call, mem api.Memory, s []uint64) {
		value, ok := c.module.kv[string(view(mem, s[0], s[1]))]
		if !ok {
			s[0] = uint64(uint32(0xffffffff)) // -1
			return
		}
		give(mem, s[2:], []byte(value))
		s[0] = s[2]
	})
	add("fetch", types(2, i32), types(1, i32), func(c *call, mem api.Memory, s []uint64) {
		s[0] = uint64(uint32(int32(c.fetch(string(view(mem, s[0], s[1]))))))
	})
	add("fetch_body", types(2, i32), types(1, i64), func(c *call, mem api.Memory, s []uint64) {
		s[0] = giveNext(mem, c.fetched, &c.fetchedRead, s[0], s[1])
	})
	return list
}

func (c *call) clientInfo() []byte {
	a := c.needRequest().Source.Addr().Unmap()
	i := clientInfo{Address: a}
	if locate := c.module.host.locate; locate != nil {
		if p, ok := locate(a); ok {
			i.City, i.Country, i.Lat, i.Lon = p.Name, p.Country, p.Lat, p.Lon
		}
	}
	text, err := json.Marshal(i)
	if err != nil {
		return nil // cannot happen: the fields are text and numbers
	}
	return text
}

// fetch requests another path of the service and keeps the body for fetch_body.
func (c *call) fetch(uri string) int {
	c.needRequest()
	if !validTarget([]byte(uri)) {
		panic(guestError("fetch: the text cannot be part of a request line"))
	}
	c.fetched, c.fetchedRead = nil, 0
	if !c.countSubrequest() {
		return fetchLimited
	}
	if uri[0] != '/' {
		return fetchFailed
	}
	var r *Response
	var err error
	c.elsewhere(func() {
		r, err = c.next(&Request{Method: "GET", URI: uri, Protocol: c.request.Protocol, Source: c.request.Source})
	})
	if err != nil {
		return fetchFailed
	}
	c.fetched = r.Body
	return r.Status
}

// countSubrequest counts a subrequest and reports whether it is within the limit.
func (c *call) countSubrequest() bool {
	c.subrequests++
	return c.subrequests <= c.module.limits.Subrequests
}

// Locate returns the place of an address.
type Locate func(netip.Addr) (perto.Place, bool)
