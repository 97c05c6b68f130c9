package functions

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"perto/internal/fields"
)

// The http_handler ABI of http-wasm (https://http-wasm.io/http-handler-abi/).

const httpHandlerModule = "http_handler"

// Features that a guest may ask for.
const (
	featureBufferRequest  = 1 << 0
	featureBufferResponse = 1 << 1
	// Trailers (1 << 2) are not granted: the edge does not forward them.
	allFeatures = featureBufferRequest | featureBufferResponse
)

// Kinds of header fields, and of bodies.
const (
	kindRequest = iota
	kindResponse
	kindRequestTrailers
	kindResponseTrailers
)

// httpHandlerFunctions returns the host functions of the ABI.
func httpHandlerFunctions() []hostFunction {
	var list []hostFunction
	add := func(name string, params, results []api.ValueType, f hostFunc) {
		list = append(list, hostFunction{name, params, results, f})
	}
	add("enable_features", types(1, i32), types(1, i32), func(c *call, _ api.Memory, s []uint64) {
		// Bodies are always in memory, so every known feature is granted.
		c.instance.features |= uint32(s[0]) & allFeatures
		s[0] = uint64(c.instance.features)
	})
	add("get_config", types(2, i32), types(1, i32), func(c *call, mem api.Memory, s []uint64) { give(mem, s, c.module.config) })
	add("log", types(3, i32), nil, func(c *call, mem api.Memory, s []uint64) { c.log(int32(s[0]), view(mem, s[1], s[2])) })
	add("log_enabled", types(1, i32), types(1, i32), func(c *call, _ api.Memory, s []uint64) {
		level, ok := logLevel(int32(s[0]))
		s[0] = 0
		if ok && (c.module.logs != nil || c.module.host.log.Enabled(context.Background(), level)) {
			s[0] = 1
		}
	})
	text := func(get, set string, at func(*Request) *string, valid func([]byte) bool) {
		add(get, types(2, i32), types(1, i32), func(c *call, mem api.Memory, s []uint64) { give(mem, s, []byte(*at(c.needRequest()))) })
		if set != "" {
			add(set, types(2, i32), nil, func(c *call, mem api.Memory, s []uint64) {
				c.beforeNext(set)
				v := view(mem, s[0], s[1])
				if !valid(v) {
					panic(guestError(set + ": the text cannot be part of a request line"))
				}
				*at(c.request) = string(v)
			})
		}
	}
	text("get_method", "set_method", func(r *Request) *string { return &r.Method }, validMethod)
	text("get_uri", "set_uri", func(r *Request) *string { return &r.URI }, validURI)
	text("get_protocol_version", "", func(r *Request) *string { return &r.Protocol }, nil)
	add("get_source_addr", types(2, i32), types(1, i32), func(c *call, mem api.Memory, s []uint64) {
		give(mem, s, []byte(c.needRequest().Source.String()))
	})
	add("get_status_code", nil, types(1, i32), func(c *call, _ api.Memory, s []uint64) { s[0] = uint64(c.needResponse().Status) })
	add("set_status_code", types(1, i32), nil, func(c *call, _ api.Memory, s []uint64) {
		if s[0] < 200 || s[0] > 599 {
			panic(guestError("set_status_code: not a final status (200 to 599)"))
		}
		c.needResponse().Status = int(uint32(s[0]))
	})
	add("get_header_names", types(3, i32), types(1, i64), func(c *call, mem api.Memory, s []uint64) {
		var names []string
		for _, f := range *c.fields(s[0]) {
			names = append(names, strings.ToLower(string(f.Name)))
		}
		slices.Sort(names)
		giveList(mem, s, s[1], s[2], slices.Compact(names))
	})
	add("get_header_values", types(5, i32), types(1, i64), func(c *call, mem api.Memory, s []uint64) {
		var values []string
		name := fieldName(mem, s[1], s[2])
		for _, f := range *c.fields(s[0]) {
			if fields.EqualFold(f.Name, name) {
				values = append(values, string(f.Value))
			}
		}
		giveList(mem, s, s[3], s[4], values)
	})
	add("set_header_value", types(5, i32), nil, func(c *call, mem api.Memory, s []uint64) {
		h, name, value := c.changeable(s[0]), fieldName(mem, s[1], s[2]), fieldValue(mem, s[3], s[4])
		*h = bounded(h.Set(name, value))
	})
	add("add_header_value", types(5, i32), nil, func(c *call, mem api.Memory, s []uint64) {
		h := c.changeable(s[0])
		*h = bounded(append(*h, fields.Field{Name: fieldName(mem, s[1], s[2]), Value: fieldValue(mem, s[3], s[4])}))
	})
	add("remove_header", types(3, i32), nil, func(c *call, mem api.Memory, s []uint64) {
		h := c.changeable(s[0])
		*h = h.Without(fieldName(mem, s[1], s[2]))
	})
	add("read_body", types(3, i32), types(1, i64), func(c *call, mem api.Memory, s []uint64) { c.readBody(mem, s) })
	add("write_body", types(3, i32), nil, func(c *call, mem api.Memory, s []uint64) { c.writeBody(s[0], view(mem, s[1], s[2])) })
	return list
}

func (c *call) needRequest() *Request {
	if c.request == nil {
		panic(guestError("it called a host function before its first request"))
	}
	return c.request
}

func (c *call) needResponse() *Response {
	c.needRequest()
	if c.response == nil {
		c.response = &Response{Status: http.StatusOK}
	}
	return c.response
}

// beforeNext ends a guest that changes the request after the next handler has responded.
func (c *call) beforeNext(what string) {
	if c.needRequest(); c.after {
		panic(guestError(what + ": the next handler has already responded"))
	}
}

// maxFields is the most header fields that a guest may give a message.
const maxFields = 256

// bounded ends a guest that has exceeded maxFields.
func bounded(h fields.Header) fields.Header {
	if len(h) > maxFields {
		panic(guestError("too many header fields"))
	}
	return h
}

// fields returns the header fields of a kind.
func (c *call) fields(kind uint64) *fields.Header {
	switch kind {
	case kindRequest:
		return &c.needRequest().Header
	case kindRequestTrailers:
		return &c.needRequest().Trailer
	case kindResponse:
		return &c.needResponse().Header
	case kindResponseTrailers:
		return &c.needResponse().Trailer
	}
	panic(guestError("unknown kind of header"))
}

// changeable returns the header fields of a kind for changes. They are copied first, so
// that changes do not reach the caller's header.
func (c *call) changeable(kind uint64) *fields.Header {
	if kind == kindRequest || kind == kindRequestTrailers {
		c.beforeNext("headers of the request")
	}
	h := c.fields(kind)
	if !c.own[kind] {
		*h, c.own[kind] = append(make(fields.Header, 0, len(*h)+4), *h...), true
	}
	return h
}

// body returns the body of a kind.
func (c *call) body(kind uint64) *[]byte {
	switch kind {
	case kindRequest:
		return &c.needRequest().Body
	case kindResponse:
		return &c.needResponse().Body
	}
	panic(guestError("unknown kind of body"))
}

// readBody copies the next part of a body to the guest, at most s[2] bytes to s[1]. The
// upper half of the result is 1 when it was the last part.
func (c *call) readBody(mem api.Memory, s []uint64) {
	b := *c.body(s[0])
	s[0] = giveNext(mem, b, &c.read[s[0]], s[1], s[2])
}

// giveNext copies the next bytes of b, from *read on, to the guest.
func giveNext(mem api.Memory, b []byte, read *int, at, limit uint64) uint64 {
	if limit == 0 {
		panic(guestError("the buffer to read into is empty"))
	}
	rest := b[min(*read, len(b)):]
	n := min(int(limit), len(rest))
	put(mem, at, rest[:n])
	*read += n
	if n == len(rest) {
		return 1<<32 | uint64(n)
	}
	return uint64(n)
}

// writeBody replaces a body with the guest's first write, and appends later writes.
func (c *call) writeBody(kind uint64, p []byte) {
	if kind == kindRequest {
		c.beforeNext("write_body")
	}
	b := c.body(kind)
	if !c.written[kind] {
		*b, c.written[kind] = nil, true
	}
	if len(*b)+len(p) > c.module.host.limits.Response {
		c.err = ErrResponse
		panic(guestError(ErrResponse.Error()))
	}
	*b = append(*b, p...)
}

// view returns a part of the guest's memory. It is valid until the guest runs again.
func view(mem api.Memory, at, n uint64) []byte {
	if mem == nil {
		panic(guestError("it has no memory"))
	}
	p, ok := mem.Read(uint32(at), uint32(n))
	if !ok {
		panic(guestError("a pointer is outside of its memory"))
	}
	return p
}

// put writes into the guest's memory.
func put(mem api.Memory, at uint64, p []byte) {
	if mem == nil || !mem.Write(uint32(at), p) {
		panic(guestError("a pointer is outside of its memory"))
	}
}

// give writes a value to (s[0], limit s[1]) when it fits. It always returns the
// value's length.
func give(mem api.Memory, s []uint64, value []byte) {
	if len(value) <= int(uint32(s[1])) && len(value) > 0 {
		put(mem, s[0], value)
	}
	s[0] = uint64(len(value))
}

// giveList writes zero-terminated strings when they fit. It always returns their
// number (upper half) and their total length.
func giveList(mem api.Memory, s []uint64, at, limit uint64, list []string) {
	n := 0
	for _, v := range list {
		n += len(v) + 1
	}
	if n > 0 && n <= int(uint32(limit)) {
		b := make([]byte, 0, n)
		for _, v := range list {
			b = append(append(b, v...), 0)
		}
		put(mem, at, b)
	}
	s[0] = uint64(len(list))<<32 | uint64(n)
}

func fieldName(mem api.Memory, at, n uint64) []byte {
	name := view(mem, at, n)
	if !validName(name) {
		panic(guestError("invalid name of a header field"))
	}
	return slices.Clone(name)
}

func fieldValue(mem api.Memory, at, n uint64) []byte {
	v := view(mem, at, n)
	if !validValue(v) {
		panic(guestError("invalid value of a header field"))
	}
	return bytes.Clone(fields.Trim(v))
}
