package replicas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"perto"
	"perto/internal/atomicfile"
)

const (
	// storeEvery is the shortest time between two writes of the file.
	storeEvery = time.Second
	// storeFresh is how long a stored "down" is valid. After a longer pause the state
	// is unknown.
	storeFresh = 10 * time.Minute
	// maxStore limits the file: ten thousand replicas take about 1.5 MiB.
	maxStore = 8 << 20
)

// stored is the part of one replica's record that survives a restart. It holds epoch
// and sequence so that heartbeats from before the restart cannot be replayed.
type stored struct {
	Name       perto.Replica `json:"name"`
	Down       bool          `json:"down,omitempty"`
	Epoch      uint64        `json:"epoch,omitempty"`
	Sequence   uint64        `json:"sequence,omitempty"`
	Admin      string        `json:"admin,omitempty"`
	AdminUntil time.Time     `json:"admin_until,omitzero"`
}

// restore applies a record of the file.
func (m *member) restore(s stored) {
	m.epoch, m.sequence = s.Epoch, s.Sequence
	m.admin, m.adminUntil = s.Admin, s.AdminUntil
	if s.Down {
		m.restored = true
		m.judged, m.why = StateDown, "was down before this node restarted"
	} else {
		m.judged, m.why = StateUnknown, "no evidence yet"
	}
}

// store keeps the records in a file. A goroutine of its own writes, so that a slow disk
// does not delay the leases.
type store struct {
	path string // "" for none
	log  *slog.Logger
	wake chan struct{} // capacity 1
	stop chan struct{}
	done chan struct{}

	mu   sync.Mutex
	next []stored // not written yet; nil when all is written
	last []byte   // content of the file

	failing bool // the last write failed; used by the writer only
}

func newStore(path string, log *slog.Logger) *store {
	return &store{path: path, log: log, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

// save keeps records for the next write.
func (s *store) save(records []stored) {
	s.mu.Lock()
	s.next = records
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes the records from save, at most once in storeEvery, until close.
func (s *store) run() {
	defer close(s.done)
	for {
		select {
		case <-s.wake:
		case <-s.stop:
			s.flush()
			return
		}
		s.flush()
		select {
		case <-time.After(storeEvery):
		case <-s.stop:
		}
	}
}

// close writes pending records and ends run.
func (s *store) close() {
	close(s.stop)
	<-s.done
}

func (s *store) flush() {
	s.mu.Lock()
	next := s.next
	s.next = nil
	s.mu.Unlock()
	if next == nil || s.path == "" {
		return
	}
	body, err := json.Marshal(next)
	if err == nil {
		if bytes.Equal(body, s.last) {
			return
		}
		err = s.write(body)
	}
	if err != nil {
		if !s.failing {
			s.failing = true
			s.log.Warn("cannot store the state of replicas", "file", s.path, "err", err, "effect", "a restart begins without it; tried again at each change")
		}
		return
	}
	if s.failing {
		s.failing = false
		s.log.Info("the state of replicas is stored again", "file", s.path)
	}
	s.last = body
}

// castagnoli is the polynomial of the file's checksum.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// storeHead is the first line of the file: format, length and checksum of the body, and
// the time of writing (seconds since 1970).
const storeHead = "perto-replicas 1 bytes=%d crc32c=%08x written=%d\n"

// write replaces the whole file, so that a crash leaves the old file or the new one.
func (s *store) write(body []byte) error {
	text := append(fmt.Appendf(nil, storeHead, len(body), crc32.Checksum(body, castagnoli), time.Now().Unix()), body...)
	return atomicfile.Write(s.path, text, 0o600)
}

// load reads the file. A missing or damaged file is a warning, and all replicas are
// then assumed up.
func (s *store) load(now time.Time) []stored {
	if s.path == "" {
		return nil
	}
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var text []byte
	if err == nil && info.Size() > maxStore {
		err = fmt.Errorf("%d bytes; the limit is %d", info.Size(), maxStore)
	}
	if err == nil {
		text, err = os.ReadFile(s.path)
	}
	var records []stored
	if err == nil {
		records, err = parseStore(text, now)
	}
	if err != nil {
		s.log.Warn("the file of replica states is damaged: all replicas are assumed up", "file", s.path, "err", err)
		return nil
	}
	return records
}

// parseStore reads the file's content. Records that are too old keep their epochs and
// administrators' orders, but mark no replica down.
func parseStore(text []byte, now time.Time) ([]stored, error) {
	head, body, _ := bytes.Cut(text, []byte("\n"))
	var size int
	var sum uint32
	var written int64
	if _, err := fmt.Sscanf(string(head)+"\n", storeHead, &size, &sum, &written); err != nil {
		return nil, errors.New("the first line is not the head of a state file")
	}
	if len(body) != size || crc32.Checksum(body, castagnoli) != sum {
		return nil, errors.New("the length or the checksum is wrong")
	}
	var records []stored
	if err := json.Unmarshal(body, &records); err != nil {
		return nil, err
	}
	if age := now.Sub(time.Unix(written, 0)); age < -storeFresh || age > storeFresh {
		for i := range records {
			records[i].Down = false
		}
	}
	return records, nil
}
