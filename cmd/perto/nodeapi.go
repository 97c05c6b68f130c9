package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"perto"
	"perto/config"
	"perto/console"
	"perto/internal/api"
	"perto/node"
)

// apiAccess decides which requests reach the API on TCP. A reload replaces names and token.
type apiAccess struct {
	names atomic.Pointer[[]string]
	token atomic.Pointer[apiToken]
}

// apiToken is a token and its time in force.
type apiToken struct {
	text    string // "" means that no token is needed
	inForce context.Context
	end     context.CancelFunc
}

func newToken(text string) *apiToken {
	t := &apiToken{text: text}
	t.inForce, t.end = context.WithCancel(context.Background())
	return t
}

func newAPIAccess(local *config.Local) *apiAccess {
	a := &apiAccess{}
	a.names.Store(&[]string{local.Name})
	a.token.Store(newToken(""))
	return a
}

// use sets names and token from a configuration. When the token cannot be read, nothing
// changes.
func (a *apiAccess) use(local *config.Local) error {
	token := ""
	if local.TokenFile != "" {
		var err error
		if token, err = api.ReadToken(local.TokenFile); err != nil {
			return err
		}
	}
	names := append([]string{local.Name}, local.APINames...)
	if host, err := os.Hostname(); err == nil {
		names = append(names, perto.CanonicalName(host))
	}
	a.names.Store(&names)
	if token != a.token.Load().text {
		a.token.Swap(newToken(token)).end()
	}
	return nil
}

// checkToken returns the error that use would return.
func checkToken(local *config.Local) error { return newAPIAccess(local).use(local) }

// guard protects a handler.
func (a *apiAccess) guard(h http.Handler) http.Handler {
	allowed := func(host string) bool { return slices.Contains(*a.names.Load(), host) }
	return api.GuardNames(a.whileInForce(api.RequireToken(h, func() string { return a.token.Load().text })), allowed)
}

// whileInForce ends requests at the end of the token that permitted them. The events of the
// web console else stay open for days.
func (a *apiAccess) whileInForce(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(a.token.Load().inForce, cancel)()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// serveAPI serves the node's API at its address. It also serves the API with changes at
// the control socket, when there is one.
func (w *worker) serveAPI(e *env, n *node.Node, cfg *node.Config) (stop func(), err error) {
	var servers []*http.Server
	pages, err := n.Console()
	if err != nil {
		return nil, err
	}
	stop = func() {
		pages.Close()
		for _, s := range servers {
			s.Close()
		}
	}
	serve := func(l net.Listener, h http.Handler) {
		server := newAPIServer(h, slog.NewLogLogger(w.log.Handler(), slog.LevelWarn))
		servers = append(servers, server)
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				w.log.Error("the API ended", "err", err)
			}
		}()
	}
	hint := "the node has no control socket: set data in its node block"
	if path := node.ControlSocket(&cfg.Local); path != "" {
		if l, err := listenControl(path); err != nil {
			// The node serves all the same, for example on a file system that is full.
			w.log.Warn("the node has no control socket", "path", path, "err", err, "effect", "drain and purge cannot reach it")
		} else {
			serve(l, api.Guard(withPages(apiOf(n, api.AdminHandler(n)), pages))) // the file's mode is the access control
			hint = "on the node's machine use -c FILE, or --api " + api.UnixPrefix + path
		}
	}
	if cfg.Local.API != "" {
		l, err := cfg.Network.Listen(e.ctx, "tcp", cfg.Local.API)
		if err != nil {
			stop()
			return nil, &perto.Error{Op: "serve API on", Path: cfg.Local.API, Kind: perto.KindUnavailable, Err: err}
		}
		bare := apiOf(n, api.RefuseAdmin(hint))
		serve(l, w.access.guard(w.access.whenToken(withPages(bare, pages), withoutPages(bare, node.ControlSocket(&cfg.Local)))))
	}
	return stop, nil
}

// newAPIServer returns a server that closes idle connections: any client may
// open them, and they take descriptors that the edge needs.
func newAPIServer(h http.Handler, mistakes *log.Logger) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: apiIdle, ErrorLog: mistakes}
}

// apiIdle is longer than the usual interval of scrapes, so that these keep a connection.
const apiIdle = 2 * time.Minute

// whenToken passes requests to protected while the API needs a token, and else to open.
func (a *apiAccess) whenToken(protected, open http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.token.Load().text == "" {
			open.ServeHTTP(w, r)
			return
		}
		protected.ServeHTTP(w, r)
	})
}

// withPages adds the web console to an API.
func withPages(bare http.Handler, pages *console.Console) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", bare)
	pages.Register(mux)
	return mux
}

// withoutPages says at / how to see the web console: it is only for those who have the
// token, or access to the control socket.
func withoutPages(bare http.Handler, socket string) http.Handler {
	text := "This is the API of a perto node. Its page needs api_token in the node block."
	if socket != "" {
		text += "\nOr forward the control socket to your machine, and open http://127.0.0.1:8080 there:\n  ssh -L 8080:" + socket + " HOST"
	}
	mux := http.NewServeMux()
	mux.Handle("/", bare)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, http.StatusForbidden) })
	return mux
}

// apiOf composes the API of a node: all paths are here. admin handles those that change
// the node.
func apiOf(n *node.Node, admin http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api.Handler(n))
	mux.HandleFunc("GET "+api.LivePath, func(w http.ResponseWriter, _ *http.Request) {
		if err := n.Live(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	mux.Handle("POST /api/drain", admin)
	mux.Handle("POST /api/purge", admin)
	if api := n.FunctionAPI(api.WriteError); api != nil {
		mux.Handle("/api/functions", api)
		mux.Handle("/api/functions/", api)
	}
	return mux
}

// maxSocketPath is the longest path of a Unix socket, in bytes (unix(7): 108 with the
// final zero on Linux, 104 elsewhere).
const maxSocketPath = 103

// listenControl opens the control socket, which only its owner may use. A socket that an
// earlier worker left is replaced: the parent runs one at a time, or hands over.
func listenControl(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("its path has %d bytes; a Unix socket may have %d", len(path), maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// When this worker ends, the path may belong to its successor.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
