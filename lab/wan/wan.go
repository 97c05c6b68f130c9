package wan

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"perto"
	"perto/internal/delayqueue"
)

// Conditions are the conditions for packets of one direction between two regions.
type Conditions struct {
	// Delay is the delay of a packet, one way.
	Delay time.Duration
	// Jitter is the maximum additional delay. Each packet draws a value from 0 to
	// Jitter. Packets of a flow keep their order, as in the queues of routers, unless
	// Reorder is set.
	Jitter  time.Duration
	Reorder bool
	// Loss is the share of packets lost, 0..1.
	Loss float64
	// Bandwidth is in bits per second, of IP packets. 0 means no limit. Packets that
	// would wait longer than [delayqueue.MaxWait] are lost.
	Bandwidth uint64
	// Cut drops all packets silently, also those in flight.
	Cut bool
}

// Counters count the packets of one direction since the start.
type Counters struct {
	Packets  uint64 `json:"packets"`  // forwarded
	Bytes    uint64 `json:"bytes"`    // of forwarded packets, with IP headers
	Lost     uint64 `json:"lost"`     // dropped by Loss
	Overflow uint64 `json:"overflow"` // dropped by a full queue: of the line, the memory or the device
	Cut      uint64 `json:"cut"`      // dropped by a cut
}

// DefaultMemory is the default of [Config].Memory, in bytes: 1 Gbps over half a second.
const DefaultMemory = 64 << 20

// Config is the configuration of a Wan.
type Config struct {
	Regions []Region // two or more
	// RTT is the round-trip time between two places at the start. Each direction has half
	// of it as its delay. nil means [perto.PriorRTT] of the great circle.
	RTT func(a, b perto.Place) time.Duration
	// Seed makes loss and jitter repeatable. Each direction has its own random source.
	Seed uint64
	// Memory bounds the packets in flight, in bytes. 0 means [DefaultMemory].
	Memory int
	// Out receives each packet that has arrived. It is called by one goroutine and must
	// not keep the packet. After an error the packet counts as overflow.
	Out func(packet []byte) error
}

// Wan holds packets between regions. Its methods may be called from any
// goroutine.
type Wan struct {
	cfg      Config
	table    table
	inFlight *delayqueue.Queue[packet]
	buffers  sync.Pool // of *[]byte with bufferSize

	mu         sync.Mutex
	directions []*direction // of region i to region j at i*len(Regions)+j; nil for i = j
	memory     int          // of the packets in flight, in bytes
	strays     uint64
}

// direction is one direction between two regions.
type direction struct {
	from, to int
	initial  Conditions
	now      Conditions
	line     delayqueue.Line
	draw     *rand.Rand
	latest   []time.Time // by flow group: latest arrival so far, which later packets must not precede; nil without jitter
	counters Counters
}

// flowGroups is the number of groups of flows in a direction, for the order of packets.
// Flows of one group keep a common order, which does no harm.
const flowGroups = 256

// bufferSize is the size of a buffer for a packet of usual size, in bytes.
const bufferSize = 2048

// packet is an IP packet in flight.
type packet struct {
	on   *direction
	data *[]byte
}

// New returns a Wan. It forwards no packets before Run is called. Errors are of
// KindInvalid and name the region.
func New(cfg Config) (*Wan, error) {
	if len(cfg.Regions) < 2 {
		return nil, &perto.Error{Op: "set up wan", Kind: perto.KindInvalid, Err: errors.New("it needs two regions or more")}
	}
	if cfg.Out == nil {
		return nil, &perto.Error{Op: "set up wan", Kind: perto.KindInvalid, Err: errors.New("the output function is missing")}
	}
	if cfg.RTT == nil {
		cfg.RTT = func(a, b perto.Place) time.Duration { return perto.PriorRTT(a.DistanceKm(b)) }
	}
	if cfg.Memory == 0 {
		cfg.Memory = DefaultMemory
	}
	t, err := newTable(cfg.Regions)
	if err != nil {
		return nil, err
	}
	w := &Wan{cfg: cfg, table: t, inFlight: delayqueue.New[packet]()}
	w.buffers.New = func() any {
		b := make([]byte, bufferSize)
		return &b
	}
	for i, a := range cfg.Regions {
		for j, b := range cfg.Regions {
			if i == j {
				w.directions = append(w.directions, nil)
				continue
			}
			c := Conditions{Delay: cfg.RTT(a.Place, b.Place) / 2}
			w.directions = append(w.directions, &direction{from: i, to: j, initial: c, now: c, draw: draws(cfg.Seed, a.Name, b.Name)})
		}
	}
	return w, nil
}

// draws returns the random source of one direction, so that traffic of other directions
// does not change its values.
func draws(seed uint64, from, to string) *rand.Rand {
	h := fnv.New64a()
	io.WriteString(h, from+"\x00"+to)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// Run forwards packets until the context ends.
func (w *Wan) Run(ctx context.Context) { w.inFlight.Run(ctx.Done(), w.arrive) }

// Send takes a packet that leaves a region, and keeps a copy of it. A packet that is
// not between two regions counts as a stray and is dropped.
func (w *Wan) Send(data []byte) {
	src, dst, ok := addresses(data)
	if !ok || dst.IsMulticast() {
		return // the kernel's own packets on the device, such as neighbour discovery
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	from, to := w.table.find(src), w.table.find(dst)
	if from < 0 || to < 0 || from == to {
		w.strays++
		return
	}
	d := w.directions[from*len(w.cfg.Regions)+to]
	weight := max(len(data), bufferSize)
	switch {
	case d.now.Cut:
		d.counters.Cut++
		return
	case d.now.Loss > 0 && d.draw.Float64() < d.now.Loss:
		d.counters.Lost++
		return
	case w.memory+weight > w.cfg.Memory:
		d.counters.Overflow++
		return
	}
	due, ok := d.due(data, time.Now())
	if !ok {
		d.counters.Overflow++
		return
	}
	w.memory += weight
	w.inFlight.Hold(due, packet{d, w.copy(data)})
}

// due returns the arrival time of a packet that is sent now. It returns false when the
// queue of the line is full.
func (d *direction) due(data []byte, now time.Time) (time.Time, bool) {
	through, ok := d.line.Transmit(now, len(data))
	if !ok {
		return time.Time{}, false
	}
	due := through.Add(d.now.Delay)
	if d.now.Jitter == 0 {
		return due, true
	}
	due = due.Add(time.Duration(d.draw.Int64N(int64(d.now.Jitter) + 1)))
	if d.now.Reorder {
		return due, true
	}
	if d.latest == nil {
		d.latest = make([]time.Time, flowGroups)
	}
	latest := &d.latest[flowOf(data)%flowGroups]
	if due.Before(*latest) {
		due = *latest
	}
	*latest = due
	return due, true
}

func (w *Wan) copy(data []byte) *[]byte {
	if len(data) > bufferSize {
		b := append([]byte(nil), data...)
		return &b
	}
	b := w.buffers.Get().(*[]byte)
	*b = append((*b)[:0], data...)
	return b
}

// arrive forwards a packet, unless its direction was cut while it was in flight.
func (w *Wan) arrive(p packet) {
	w.mu.Lock()
	cut := p.on.now.Cut
	w.mu.Unlock()
	var err error
	size := len(*p.data)
	if !cut {
		err = w.cfg.Out(*p.data)
	}
	if cap(*p.data) == bufferSize {
		w.buffers.Put(p.data)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.memory -= max(size, bufferSize)
	switch c := &p.on.counters; {
	case cut:
		c.Cut++
	case err != nil:
		c.Overflow++
	default:
		c.Packets++
		c.Bytes += uint64(size)
	}
}
