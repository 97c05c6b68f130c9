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

// Conditions are what the packets of one direction between two regions meet.
type Conditions struct {
	// Delay is how long a packet takes, one way.
	Delay time.Duration
	// Jitter is how much longer it may take: each packet draws from 0 to it. The
	// packets of a flow keep their order, as in the queues of routers, unless
	// Reorder is set.
	Jitter  time.Duration
	Reorder bool
	// Loss is the share of packets lost, 0..1.
	Loss float64
	// Bandwidth is in bits per second, of IP packets; 0 is without limit. What
	// would wait longer than [delayqueue.MaxWait] is lost.
	Bandwidth uint64
	// Cut loses everything, also what is under way, in silence.
	Cut bool
}

// Counters count the packets of one direction since the start.
type Counters struct {
	Packets  uint64 `json:"packets"`  // handed on
	Bytes    uint64 `json:"bytes"`    // of these, with IP headers
	Lost     uint64 `json:"lost"`     // drawn by Loss
	Overflow uint64 `json:"overflow"` // no room: before a narrow line, in memory, or at the device
	Cut      uint64 `json:"cut"`      // lost to a cut
}

// DefaultMemory bounds the packets under way, in bytes: 1 Gbps over half a
// second.
const DefaultMemory = 64 << 20

// Config is what a Wan is made of.
type Config struct {
	Regions []Region // two or more
	// RTT is the round-trip time between two places at the start; half of it is
	// each direction's delay. nil: [perto.PriorRTT] of the great circle.
	RTT func(a, b perto.Place) time.Duration
	// Seed makes loss and jitter repeatable: each direction draws its own.
	Seed uint64
	// Memory bounds the packets under way, in bytes; 0: [DefaultMemory].
	Memory int
	// Out takes a packet that has arrived. It may not keep it, and is called by
	// one goroutine. An error counts the packet as overflow.
	Out func(packet []byte) error
}

// Wan holds packets between regions. Its methods may be called from any
// goroutine.
type Wan struct {
	cfg      Config
	table    table
	underWay *delayqueue.Queue[packet]
	buffers  sync.Pool // of *[]byte with bufferSize

	mu         sync.Mutex
	directions []*direction // of region i to region j at i*len(Regions)+j; nil for i = j
	memory     int          // of the packets under way, in bytes
	strays     uint64
}

// direction is one way between two regions.
type direction struct {
	from, to int
	initial  Conditions
	now      Conditions
	line     delayqueue.Line
	draw     *rand.Rand
	latest   []time.Time // by flow: no packet of it may arrive before; nil without jitter
	counters Counters
}

// flowSlots is how many flows of a direction are told apart for their order.
// Flows that share a slot keep a common order, which does no harm.
const flowSlots = 256

// bufferSize is the room for a packet of the usual size, in bytes.
const bufferSize = 2048

// packet is an IP packet under way.
type packet struct {
	on   *direction
	data *[]byte
}

// New returns a Wan. It hands nothing on before Run is called. Errors are of
// KindInvalid and name the region.
func New(cfg Config) (*Wan, error) {
	if len(cfg.Regions) < 2 {
		return nil, &perto.Error{Op: "set up wan", Kind: perto.KindInvalid, Err: errors.New("it needs two regions or more")}
	}
	if cfg.Out == nil {
		return nil, &perto.Error{Op: "set up wan", Kind: perto.KindInvalid, Err: errors.New("it has nowhere to put packets out")}
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
	w := &Wan{cfg: cfg, table: t, underWay: delayqueue.New[packet]()}
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

// draws returns a direction's own source of random numbers, so that traffic
// elsewhere does not change what it draws.
func draws(seed uint64, from, to string) *rand.Rand {
	h := fnv.New64a()
	io.WriteString(h, from+"\x00"+to)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// Run hands packets on until the context ends.
func (w *Wan) Run(ctx context.Context) { w.underWay.Run(ctx.Done(), w.arrive) }

// Send takes a packet that leaves a region; it keeps a copy. What is not between
// two regions is counted as stray and lost.
func (w *Wan) Send(data []byte) {
	src, dst, ok := addresses(data)
	if !ok || dst.IsMulticast() {
		return // the kernel's own chatter on the device
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
	w.underWay.Hold(due, packet{d, w.copy(data)})
}

// due returns when a packet that comes now arrives, and false when the line has
// no room for it.
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
		d.latest = make([]time.Time, flowSlots)
	}
	latest := &d.latest[flowOf(data)%flowSlots]
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

// arrive hands a packet on, unless it was cut off while it was under way.
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
