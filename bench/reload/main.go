// Command reload measures how many DNS queries a reload loses. It sends 2,000 queries a
// second for 4 s, sends SIGHUP to a process after the first second, and counts the
// responses. bench/reload/run.sh starts the nodes.
//
//	reload PORT PID
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	queries = 8000
	spacing = 500 * time.Microsecond
	tick    = 5 * time.Millisecond
	hupAt   = time.Second
	late    = 4 * time.Second // a response that comes later counts as lost
)

// question asks for the A records of shop.cdn.example.
var question = []byte("\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04shop\x03cdn\x07example\x00\x00\x01\x00\x01")

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: reload PORT PID")
		os.Exit(2)
	}
	pid, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	conn, err := net.Dial("udp", net.JoinHostPort("127.0.0.1", os.Args[1]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var answered atomic.Int64
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err == nil && n > 12 {
				answered.Add(1)
			}
		}
	}()
	start, signalled := time.Now(), false
	for sent := 0; sent < queries; time.Sleep(tick) {
		for due := int(time.Since(start) / spacing); sent < due && sent < queries; sent++ {
			question[0], question[1] = byte(sent>>8), byte(sent)
			_, _ = conn.Write(question) // an unsent query counts as lost
		}
		if !signalled && time.Since(start) > hupAt {
			signalled = true
			if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
	for end := time.Now().Add(late); time.Now().Before(end) && answered.Load() < queries; {
		time.Sleep(tick)
	}
	fmt.Printf("sent %d, answered %d, lost %d\n", queries, answered.Load(), queries-answered.Load())
}
