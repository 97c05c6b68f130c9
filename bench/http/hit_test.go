package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"perto/edge"
	"perto/edge/fetch"
	"perto/internal/netx"
)

// BenchmarkHit measures cache hits over loopback TCP, with client and edge in one
// process. An operation is one request on a kept connection, written and read
// completely, with 16 connections a core. The client is minimal. Still, the client and
// the kernel take about half of the time. Compare results only with results of this
// benchmark. For other servers, CPU time is measured from outside.
func BenchmarkHit(b *testing.B) {
	for _, size := range []int{1 << 10, 100 << 10, 8 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			address := serve(b, size)
			request := []byte("GET /object HTTP/1.1\r\nHost: " + address + "\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
			b.SetParallelism(16)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				c, err := net.Dial("tcp", address)
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				r := bufio.NewReaderSize(c, 64<<10)
				for pb.Next() {
					if err := ask(c, r, request, size); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// ask sends one GET request and reads its response.
func ask(c net.Conn, r *bufio.Reader, request []byte, size int) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	hit := false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		hit = hit || bytes.HasPrefix(line, []byte("Cache-Status: perto-bench-1; hit"))
	}
	if !hit {
		return fmt.Errorf("a reply that is no hit")
	}
	_, err := r.Discard(size)
	return err
}

// serve starts an edge with one object of size bytes stored and returns its
// address.
func serve(b *testing.B, size int) string {
	b.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Content-Length", fmt.Sprint(size))
		w.Write(make([]byte, size))
	}))
	b.Cleanup(origin.Close)
	sites, err := edge.NewSites(edge.Site{Service: "127.0.0.1", Origins: []fetch.Origin{{URL: origin.URL}}})
	if err != nil {
		b.Fatal(err)
	}
	e, err := edge.New(edge.Config{Name: "bench-1", Network: new(netx.OS), Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		b.Fatal(err)
	}
	e.SetSites(sites)
	if err := e.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- e.Run(context.Background()) }()
	b.Cleanup(func() {
		e.Close()
		if err := <-ran; err != nil {
			b.Error(err)
		}
	})
	address := e.Addrs()[0].String()
	for hit := false; !hit; { // until the object is stored
		res, err := http.Get("http://" + address + "/object")
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		hit = strings.Contains(res.Header.Get("Cache-Status"), "hit")
	}
	http.DefaultClient.CloseIdleConnections()
	return address
}
