package mobility

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"perto"
)

const (
	// maxSigned is the longest JSON of a signed release, in bytes. JSON may write each
	// byte of the release as six.
	maxSigned = 6*maxRelease + 4<<10
	// logWait is how long a request for logs waits for the first line.
	logWait = 10 * time.Second
	// logPoll is the interval at which it looks for new lines.
	logPoll = 200 * time.Millisecond
)

// Source connects the API with a node. All fields are required.
type Source struct {
	Store    *Store
	Observed func() any // the functions that run here; shown as JSON
	// Check returns an error for a service that the node does not have.
	Check func(perto.Service) error
	// Logs returns the lines that a function logged after line number after, and the
	// number of the last line.
	Logs func(service perto.Service, path string, after uint64) (lines []LogLine, next uint64)
	// WriteError writes an error response (api.WriteError).
	WriteError func(http.ResponseWriter, error)
}

// LogLine is a line that a function logged.
type LogLine struct {
	Number uint64    `json:"number"` // from 1; gaps are dropped lines
	Time   time.Time `json:"time"`
	Level  string    `json:"level"`
	Text   string    `json:"text"`
}

// List has the functions that should run and the functions that do.
type List struct {
	Desired  []Function      `json:"desired"`
	Observed json.RawMessage `json:"observed"` // the value of Source.Observed
}

// Applied is the result of applying a release.
type Applied struct {
	Version uint64 `json:"version"`
	Missing bool   `json:"missing"` // the node lacks the module
}

// nextHeader is the response field with the value for the next request's after.
const nextHeader = "Perto-Next"

// Handler returns the API of a node's functions. Its clients can apply signed releases
// and read all modules. Protect it with api.Guard.
func Handler(s Source) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(Source, http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := f(s, w, r); err != nil {
				s.WriteError(w, err)
			}
		})
	}
	handle("GET /api/functions", Source.list)
	handle("GET /api/functions/history", Source.history)
	handle("POST /api/functions/releases", Source.apply)
	handle("PUT /api/functions/modules/{digest}", Source.put)
	handle("GET /api/functions/modules/{digest}", func(s Source, w http.ResponseWriter, r *http.Request) error {
		return serveModule(s.Store, w, r)
	})
	handle("GET /api/functions/logs", Source.logs)
	return mux
}

// ServeModules serves the modules of a Store to each [Puller], under [ModulePath]. A
// client that has a digest may download the module.
func ServeModules(s *Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+ModulePath+"{digest}", func(w http.ResponseWriter, r *http.Request) {
		if err := serveModule(s, w, r); err != nil {
			http.NotFound(w, r)
		}
	})
	return mux
}

func writeJSON(w http.ResponseWriter, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(text, '\n'))
	return nil
}

func (s Source) list(w http.ResponseWriter, r *http.Request) error {
	observed, err := json.Marshal(s.Observed())
	if err != nil {
		return err
	}
	return writeJSON(w, List{Desired: *s.Store.Desired().Load(), Observed: observed})
}

// functionOf reads the function from a request's query.
func functionOf(r *http.Request) (function, error) {
	f := function{perto.Service(perto.CanonicalName(r.FormValue("service"))), r.FormValue("path")}
	if err := checkFunction(f.service, f.path); err != nil {
		return f, &perto.Error{Op: "find function", Kind: perto.KindInvalid, Err: err}
	}
	return f, nil
}

func (s Source) history(w http.ResponseWriter, r *http.Request) error {
	f, err := functionOf(r)
	if err != nil {
		return err
	}
	list := s.Store.History(f.service, f.path)
	if list == nil {
		if err := s.Check(f.service); err != nil {
			return err
		}
		return &perto.Error{Op: "find function", Path: string(f.service) + f.path, Kind: perto.KindNotFound, Err: errors.New("this node has no release of it")}
	}
	return writeJSON(w, list)
}

func (s Source) apply(w http.ResponseWriter, r *http.Request) error {
	var signed Signed
	if err := decodeStrictly(http.MaxBytesReader(w, r.Body, maxSigned), &signed); err != nil {
		return &perto.Error{Op: "read release", Kind: perto.KindInvalid, Err: err}
	}
	release, err := ParseRelease(signed.Release)
	if err != nil {
		return &perto.Error{Op: "read release", Kind: perto.KindInvalid, Err: err}
	}
	// A function can be removed after its service is gone.
	if err := s.Check(release.Service); err != nil && !release.Removed {
		return err
	}
	missing, err := s.Store.Apply(signed)
	if err != nil {
		return err
	}
	return writeJSON(w, Applied{Version: release.Version, Missing: missing})
}

func (s Source) put(w http.ResponseWriter, r *http.Request) error {
	digest := r.PathValue("digest")
	if limit, ok := s.Store.Wants(digest); ok && r.ContentLength > limit {
		return &perto.Error{Op: "store module", Path: digest, Kind: perto.KindInvalid,
			Err: fmt.Errorf("it has %d bytes; its release allows %d", r.ContentLength, limit)}
	}
	// Put reads at most one byte more than the Store accepts.
	if err := s.Store.Put(r.Context(), digest, r.Body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// serveModule responds with a module. Its name is the digest, so it never changes.
func serveModule(s *Store, w http.ResponseWriter, r *http.Request) error {
	digest := r.PathValue("digest")
	if err := checkDigest(digest); err != nil {
		return &perto.Error{Op: "find module", Kind: perto.KindInvalid, Err: err}
	}
	wasm, ok := s.Module(digest)
	if !ok {
		return &perto.Error{Op: "find module", Path: digest, Kind: perto.KindNotFound, Err: errors.New("this node does not have it")}
	}
	h := w.Header()
	h.Set("Content-Type", "application/wasm")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", `"`+digest+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(wasm))
	return nil
}

// logs responds with one JSON value a line. With wait=1 it waits up to logWait for the
// first line.
func (s Source) logs(w http.ResponseWriter, r *http.Request) error {
	f, err := functionOf(r)
	if err != nil {
		return err
	}
	if err := s.Check(f.service); err != nil {
		return err
	}
	after := uint64(0)
	if text := r.FormValue("after"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return &perto.Error{Op: "read logs", Kind: perto.KindInvalid, Err: errors.New("the parameter after is not a number")}
		}
	}
	lines, next := s.Logs(f.service, f.path, after)
	if r.FormValue("wait") == "1" {
		deadline := time.Now().Add(logWait)
		tick := time.NewTicker(logPoll)
		defer tick.Stop()
		for len(lines) == 0 && time.Now().Before(deadline) {
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return nil // the client is gone
			}
			lines, next = s.Logs(f.service, f.path, after)
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set(nextHeader, strconv.FormatUint(next, 10))
	enc := json.NewEncoder(w)
	for _, line := range lines {
		enc.Encode(line)
	}
	return nil
}
