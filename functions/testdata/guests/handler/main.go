// A guest of the http-wasm ABI for tests. The path selects its action.
package main

import (
	"crypto/rand"
	"fmt"
	oldrand "math/rand"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"strings"
	"unsafe"
)

//go:wasmimport http_handler enable_features
func enableFeatures(features uint32) uint32

//go:wasmimport http_handler get_config
func getConfig(p unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler log
func log(level int32, p unsafe.Pointer, n uint32)

//go:wasmimport http_handler get_method
func getMethod(p unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler set_method
func setMethod(p unsafe.Pointer, n uint32)

//go:wasmimport http_handler get_protocol_version
func getProtocol(p unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler add_header_value
func addHeader(kind uint32, name unsafe.Pointer, n uint32, value unsafe.Pointer, m uint32)

//go:wasmimport http_handler get_uri
func getURI(p unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler set_uri
func setURI(p unsafe.Pointer, n uint32)

//go:wasmimport http_handler get_source_addr
func getSource(p unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler get_header_names
func getHeaderNames(kind uint32, p unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler get_header_values
func getHeaderValues(kind uint32, name unsafe.Pointer, n uint32, p unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler set_header_value
func setHeader(kind uint32, name unsafe.Pointer, n uint32, value unsafe.Pointer, m uint32)

//go:wasmimport http_handler remove_header
func removeHeader(kind uint32, name unsafe.Pointer, n uint32)

//go:wasmimport http_handler read_body
func readBody(kind uint32, p unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler write_body
func writeBody(kind uint32, p unsafe.Pointer, n uint32)

//go:wasmimport http_handler get_status_code
func getStatus() uint32

//go:wasmimport http_handler set_status_code
func setStatus(code uint32)

//go:wasmimport perto now
func now() int64

//go:wasmimport perto edge_info
func edgeInfo(p unsafe.Pointer, limit uint32) uint32

//go:wasmimport perto client_info
func clientInfo(p unsafe.Pointer, limit uint32) uint32

//go:wasmimport perto kv_get
func kvGet(key unsafe.Pointer, n uint32, p unsafe.Pointer, limit uint32) int32

//go:wasmimport perto fetch
func fetch(uri unsafe.Pointer, n uint32) int32

//go:wasmimport perto fetch_body
func fetchBody(p unsafe.Pointer, limit uint32) uint64

// seed is the random number that the host gives each copy of an instance.
var seed uint64

//go:wasmexport perto_reseed
func reseed(s uint64) { seed = s }

const request, response = 0, 1

var (
	buf   [4096]byte
	count int
	kept  [][]byte
)

func ptr(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

func header(kind uint32, name, value string) {
	n, nn := ptr(name)
	v, vn := ptr(value)
	setHeader(kind, n, nn, v, vn)
}

func write(s string) {
	if s == "" {
		return
	}
	p, n := ptr(s)
	writeBody(response, p, n)
}

func text(f func(unsafe.Pointer, uint32) uint32) string {
	n := f(unsafe.Pointer(&buf[0]), uint32(len(buf)))
	return string(buf[:n])
}

func values(kind uint32, name string) string {
	p, n := ptr(name)
	r := getHeaderValues(kind, p, n, unsafe.Pointer(&buf[0]), uint32(len(buf)))
	return fmt.Sprint(r>>32, " ", strings.ReplaceAll(string(buf[:uint32(r)]), "\x00", "|"))
}

// one returns the first value of a field.
func one(name string) string {
	p, n := ptr(name)
	r := getHeaderValues(request, p, n, unsafe.Pointer(&buf[0]), uint32(len(buf)))
	v, _, _ := strings.Cut(string(buf[:uint32(r)]), "\x00")
	return v
}

// operate runs the operation in field x-do on x-a and x-b, and lets the request pass.
func operate(do string) uint64 {
	a, b := one("x-a"), one("x-b")
	p, n := ptr(a)
	q, m := ptr(b)
	switch do {
	case "method":
		write(text(getMethod))
	case "protocol":
		write(text(getProtocol))
	case "uri":
		write(text(getURI))
	case "source":
		write(text(getSource))
	case "values":
		write(values(request, a))
	case "names":
		r := getHeaderNames(request, unsafe.Pointer(&buf[0]), uint32(len(buf)))
		write(strings.ReplaceAll(string(buf[:uint32(r)]), "\x00", "|"))
	case "body":
		total := 0
		for {
			r := readBody(request, unsafe.Pointer(&buf[0]), 1000)
			total += strings.Count(string(buf[:uint32(r)]), "a")
			if r>>32 == 1 {
				break
			}
		}
		write(fmt.Sprint(total))
	case "set method":
		setMethod(p, n)
	case "set uri":
		setURI(p, n)
	case "set header":
		setHeader(request, p, n, q, m)
	case "add header":
		addHeader(request, p, n, q, m)
	case "remove header":
		removeHeader(request, p, n)
	}
	header(response, "x-handled", "1")
	return 1
}

//go:wasmexport handle_request
func handleRequest() uint64 {
	count++
	if do := one("x-do"); do != "" {
		return operate(do)
	}
	uri := text(getURI)
	path, _, _ := strings.Cut(uri, "?")
	if code, ok := strings.CutPrefix(path, "/hello/"); ok {
		n, _ := strconv.Atoi(code)
		setStatus(uint32(n))
		write("body")
		return 0
	}
	switch path {
	case "/hello":
		header(response, "content-type", "text/plain")
		write("hello " + text(getMethod) + " " + uri + " from " + text(getSource))
	case "/config":
		write(text(getConfig) + fmt.Sprint(" ", enableFeatures(3)))
	case "/pass", "/refused":
		header(request, "x-guest", "was here")
		s, n := ptr("/rewritten")
		setURI(s, n)
		return 7<<32 | 1
	case "/echo":
		for {
			r := readBody(request, unsafe.Pointer(&buf[0]), 5)
			write(strings.ToUpper(string(buf[:uint32(r)])))
			if r>>32 == 1 {
				break
			}
		}
	case "/headers":
		r := getHeaderNames(request, unsafe.Pointer(&buf[0]), uint32(len(buf)))
		names := strings.ReplaceAll(string(buf[:uint32(r)]), "\x00", "|")
		write(fmt.Sprint(r>>32, " ", names, " ", values(request, "x-two")))
	case "/tiny": // no space: nothing is written, and the length is returned
		write(fmt.Sprint(getURI(unsafe.Pointer(&buf[0]), 2)))
	case "/count":
		write(fmt.Sprint(count))
	case "/random":
		var b [8]byte
		rand.Read(b[:])
		write(fmt.Sprintf("%x", b))
	case "/mathrand":
		m := map[int]bool{}
		for i := range 64 {
			m[i] = true
		}
		write(fmt.Sprint(mathrand.Uint64(), oldrand.Int63(), " "))
		for k := range m {
			write(fmt.Sprint(k, " "))
		}
	case "/seed":
		write(fmt.Sprint(seed))
	case "/now":
		write(fmt.Sprint(now()))
	case "/where":
		write(text(edgeInfo) + text(clientInfo))
	case "/kv":
		_, key, _ := strings.Cut(uri, "?")
		p, n := ptr(key)
		size := kvGet(p, n, unsafe.Pointer(&buf[0]), uint32(len(buf)))
		write(fmt.Sprint(size, " ", string(buf[:max(size, 0)])))
	case "/fetch": // each word of the query in turn
		_, query, _ := strings.Cut(uri, "?")
		for _, path := range strings.Split(query, "&") {
			p, n := ptr(path)
			write(fmt.Sprint(fetch(p, n), "="))
			r := fetchBody(unsafe.Pointer(&buf[0]), uint32(len(buf)))
			write(string(buf[:uint32(r)]) + ";")
		}
	case "/dirty":
		kept = append(kept, make([]byte, 1<<20))
		write(fmt.Sprint(len(kept)))
	case "/log":
		s, n := ptr("a line")
		log(1, s, n)
	case "/print":
		fmt.Print("one\n\ntw")
		os.Stderr.WriteString("of the ")
		fmt.Print("o\r\nthr")
		os.Stderr.WriteString("error\n")
		fmt.Print("ee")
	case "/panic":
		panic("no luck with " + uri)
	case "/logs":
		for range 1000 {
			s, n := ptr("x")
			log(0, s, n)
		}
	case "/loop":
		for i := uint64(1); ; i = i*3 + 1 {
			if i == 0 {
				write("never")
			}
		}
	case "/trap":
		var none *[4]int
		none[count%4] = 1
	case "/big":
		for {
			write(strings.Repeat("x", 1<<16))
		}
	case "/grow":
		for {
			kept = append(kept, make([]byte, 1<<20))
		}
	case "/pointer":
		getURI(unsafe.Pointer(uintptr(0xfffffff0)), 1<<20)
	case "/smuggle":
		header(response, "x-a", "b\r\nX-Evil: 1")
	case "/status":
		setStatus(42)
	}
	return 0
}

//go:wasmexport handle_response
func handleResponse(token, isError uint32) {
	header(response, "x-after", fmt.Sprint(token, " ", isError, " ", getStatus()))
	n, nn := ptr("x-secret")
	removeHeader(response, n, nn)
	if isError == 1 {
		setStatus(503)
		write("the next one failed")
	}
}

func main() {}
