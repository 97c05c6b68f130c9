// Command http runs one edge in front of one origin, without DNS and without a
// configuration file. It is for measurements beside other caches, and for test suites
// that need a cache at a port.
//
//	go run ./bench/http -listen 127.0.0.1:8080 -origin http://127.0.0.1:8000 -host 127.0.0.1
package main

import (
	"context"
	"flag"
	"log/slog"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"strings"

	"perto"
	"perto/edge"
	"perto/edge/fetch"
	"perto/internal/netx"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to serve on")
	origin := flag.String("origin", "http://127.0.0.1:8000", "origin's URL")
	hosts := flag.String("host", "127.0.0.1", "hosts served, separated by commas")
	cookies := flag.Bool("strip-cookies", false, "store replies with Set-Cookie without that field")
	mib := flag.Int64("mib", 1024, "memory for stored replies in MiB")
	profile := flag.String("profile", "", "address for net/http/pprof; empty: none")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if *profile != "" {
		go func() { logger.Error("profile", "err", http.ListenAndServe(*profile, nil)) }()
	}
	names := strings.Split(*hosts, ",")
	rule := edge.PassCookies
	if *cookies {
		rule = edge.StripCookies
	}
	sites, err := edge.NewSites(edge.Site{Service: perto.Service(names[0]), Hosts: names[1:],
		Origins: []fetch.Origin{{URL: *origin}}, Cookies: rule})
	if err != nil {
		logger.Error("sites", "err", err)
		os.Exit(2)
	}
	e, err := edge.New(edge.Config{Name: "bench-1", Network: new(netx.OS), Listen: []string{*listen}, Limits: edge.Limits{CacheBytes: *mib << 20}, Logger: logger})
	if err != nil {
		logger.Error("edge", "err", err)
		os.Exit(1)
	}
	e.SetSites(sites)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := e.Run(ctx); err != nil {
		logger.Error("edge", "err", err)
		os.Exit(1)
	}
}
