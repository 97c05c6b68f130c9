// This guest makes the calls in the request's body, with arguments that may be invalid,
// and returns their results. It compares hosts: see guest_test.go.
package main

import (
	"encoding/binary"
	"hash/crc32"
	"unsafe"
)

//go:wasmimport http_handler enable_features
func enableFeatures(features uint32) uint32

//go:wasmimport http_handler get_config
func getConfig(p, limit uint32) uint32

//go:wasmimport http_handler get_method
func getMethod(p, limit uint32) uint32

//go:wasmimport http_handler set_method
func setMethod(p, n uint32)

//go:wasmimport http_handler get_uri
func getURI(p, limit uint32) uint32

//go:wasmimport http_handler set_uri
func setURI(p, n uint32)

//go:wasmimport http_handler get_protocol_version
func getProtocol(p, limit uint32) uint32

//go:wasmimport http_handler get_source_addr
func getSource(p, limit uint32) uint32

//go:wasmimport http_handler get_header_names
func getHeaderNames(kind, p, limit uint32) uint64

//go:wasmimport http_handler get_header_values
func getHeaderValues(kind, name, n, p, limit uint32) uint64

//go:wasmimport http_handler set_header_value
func setHeader(kind, name, n, value, m uint32)

//go:wasmimport http_handler add_header_value
func addHeader(kind, name, n, value, m uint32)

//go:wasmimport http_handler remove_header
func removeHeader(kind, name, n uint32)

//go:wasmimport http_handler read_body
func readBody(kind, p, limit uint32) uint64

//go:wasmimport http_handler write_body
func writeBody(kind, p, n uint32)

//go:wasmimport http_handler get_status_code
func getStatus() uint32

//go:wasmimport http_handler set_status_code
func setStatus(code uint32)

//go:wasmimport http_handler log
func log(level, p, n uint32)

//go:wasmimport perto edge_info
func edgeInfo(p, limit uint32) uint32

//go:wasmimport perto client_info
func clientInfo(p, limit uint32) uint32

//go:wasmimport perto kv_get
func kvGet(key, n, p, limit uint32) int32

//go:wasmimport perto fetch
func fetch(uri, n uint32) int32

//go:wasmimport perto fetch_body
func fetchBody(p, limit uint32) uint64

// Pointer arguments are addresses in ground, or outside of it. It begins with text for
// names, values and paths.
var ground [1 << 17]byte

// watched is the length of the part of ground with a checksum, in bytes.
const watched = 2 << 10

var script, results []byte

func u32(p []byte) uint32 { return binary.LittleEndian.Uint32(p) }

func one(f byte, a, b, c, d, e uint32) uint64 {
	base := uint32(uintptr(unsafe.Pointer(&ground[0])))
	switch f {
	case 0:
		return uint64(enableFeatures(a))
	case 1:
		return uint64(getConfig(base+a, b))
	case 2:
		return uint64(getMethod(base+a, b))
	case 3:
		setMethod(base+a, b)
	case 4:
		return uint64(getURI(base+a, b))
	case 5:
		setURI(base+a, b)
	case 6:
		return uint64(getProtocol(base+a, b))
	case 7:
		return uint64(getSource(base+a, b))
	case 8:
		return getHeaderNames(a, base+b, c)
	case 9:
		return getHeaderValues(a, base+b, c, base+d, e)
	case 10:
		setHeader(a, base+b, c, base+d, e)
	case 11:
		addHeader(a, base+b, c, base+d, e)
	case 12:
		removeHeader(a, base+b, c)
	case 13:
		return readBody(a, base+b, c)
	case 14:
		writeBody(a, base+b, c)
	case 15:
		return uint64(getStatus())
	case 16:
		setStatus(a)
	case 17:
		log(a, base+b, c)
	case 18:
		return uint64(edgeInfo(base+a, b))
	case 19:
		return uint64(clientInfo(base+a, b))
	case 20:
		return uint64(uint32(kvGet(base+a, b, base+c, d)))
	case 21:
		return uint64(uint32(fetch(base+a, b)))
	case 22:
		return fetchBody(base+a, b)
	}
	return 0
}

// run makes the calls in p. It records the result of each call, and a checksum of
// ground after it.
func run(p []byte) {
	for ; len(p) >= 21; p = p[21:] {
		r := one(p[0], u32(p[1:]), u32(p[5:]), u32(p[9:]), u32(p[13:]), u32(p[17:]))
		results = binary.LittleEndian.AppendUint64(results, r)
		results = binary.LittleEndian.AppendUint32(results, crc32.ChecksumIEEE(ground[:watched]))
	}
}

// The body has the text of ground (64 bytes), the result of handle_request, the calls
// before next, and as many calls after next.
//
//go:wasmexport handle_request
func handleRequest() uint64 {
	script, results = make([]byte, 1<<16), nil
	n := uint32(readBody(0, uint32(uintptr(unsafe.Pointer(&script[0]))), uint32(len(script))))
	script = script[:n]
	clear(ground[:])
	copy(ground[:], script[:64])
	pass := script[64]
	script = script[65:]
	half := len(script) / 42 * 21
	run(script[:half])
	script = script[half:]
	if pass == 0 {
		answer()
	}
	return uint64(pass) | 9<<32
}

//go:wasmexport handle_response
func handleResponse(token, isError uint32) {
	results = binary.LittleEndian.AppendUint32(results, token<<1|isError)
	run(script)
	answer()
}

// answer writes the results after the bytes that the calls wrote.
func answer() {
	if len(results) > 0 {
		writeBody(1, uint32(uintptr(unsafe.Pointer(&results[0]))), uint32(len(results)))
	}
}

func main() {}
