package wan

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"perto"
	"perto/config"
	"perto/internal/delayqueue"
)

// MaxDelay bounds delay and jitter, each. No path on earth is longer, and packets must
// not stay in memory without limit.
const MaxDelay = 10 * time.Second

// Change is a change of the conditions between regions. Fields that are nil do not
// change.
type Change struct {
	// From and To name the regions. Without To, all pairs of From change. Without both,
	// all pairs change.
	From, To string
	// OneWay limits the change to packets in the direction From -> To.
	OneWay bool
	// Reset first restores the conditions of the start.
	Reset bool

	Delay, Jitter *time.Duration
	Reorder       *bool
	Loss          *float64
	Bandwidth     *uint64 // bits per second; 0 ends the limit
	Cut           *bool
}

// ParseChange reads a Change from form values: from, to, one_way, reset, delay, jitter,
// reorder, loss, bandwidth, cut. Errors are of KindInvalid and name the value and its
// valid form.
func ParseChange(form url.Values) (Change, error) {
	var c Change
	fail := func(name string, err error) (Change, error) {
		return Change{}, &perto.Error{Op: "change wan: " + name, Path: strconv.Quote(form.Get(name)), Kind: perto.KindInvalid, Err: err}
	}
	for name, values := range form {
		if len(values) != 1 {
			return fail(name, errors.New("it is given more than once"))
		}
		text := values[0]
		var err error
		switch name {
		case "from":
			c.From = text
		case "to":
			c.To = text
		case "one_way":
			c.OneWay, err = parseBool(text)
		case "reset":
			c.Reset, err = parseBool(text)
		case "delay":
			c.Delay, err = parsed(parseDelay(text))
		case "jitter":
			c.Jitter, err = parsed(parseDelay(text))
		case "reorder":
			c.Reorder, err = parsed(parseBool(text))
		case "loss":
			c.Loss, err = parsed(parseLoss(text))
		case "bandwidth":
			c.Bandwidth, err = parsed(parseBandwidth(text))
		case "cut":
			c.Cut, err = parsed(parseBool(text))
		default:
			return fail(name, errors.New("no such value; there are from, to, one_way, reset, delay, jitter, reorder, loss, bandwidth, cut"))
		}
		if err != nil {
			return fail(name, err)
		}
	}
	return c, nil
}

func parsed[T any](v T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return &v, nil
}

func parseBool(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errors.New("it takes true or false")
}

func parseDelay(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > MaxDelay {
		return 0, fmt.Errorf("it takes a time from 0s to %v, such as 80ms", MaxDelay)
	}
	return d, nil
}

// parseLoss reads "1%" or "0.01".
func parseLoss(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(number, 64)
	if percent {
		n /= 100
	}
	if err != nil || !(n >= 0 && n <= 1) { // the comparison is also false for NaN
		return 0, errors.New("it takes a share of packets from 0% to 100%, such as 1% or 0.01")
	}
	return n, nil
}

// minBandwidth is the lowest bandwidth, in bits per second. With a lower one, a packet
// of usual size would take longer than any program waits.
const minBandwidth = 1000

func parseBandwidth(text string) (uint64, error) {
	if text == "0" || text == "none" {
		return 0, nil
	}
	n, err := config.ParseRate(text)
	if err != nil || n < minBandwidth {
		return 0, errors.New("it takes a rate of 1kbps or more, such as 10Mbps, or none")
	}
	return n, nil
}

// Apply changes conditions and returns the changed pairs with their new conditions. For
// an unknown region it returns an error of KindNotFound that lists the regions. For an
// empty or contradictory change it returns an error of KindInvalid.
func (w *Wan) Apply(c Change) ([]Pair, error) {
	changes := c.Reset || c.Delay != nil || c.Jitter != nil || c.Reorder != nil || c.Loss != nil || c.Bandwidth != nil || c.Cut != nil
	invalid := func(text string) ([]Pair, error) {
		return nil, &perto.Error{Op: "change wan", Kind: perto.KindInvalid, Err: errors.New(text)}
	}
	switch {
	case !changes:
		return invalid("nothing to change: give delay, jitter, reorder, loss, bandwidth, cut or reset")
	case c.From == "" && c.To != "":
		return invalid("to is given without from")
	case c.From == "" && c.OneWay:
		return invalid("one_way needs from")
	case c.From != "" && c.From == c.To:
		return invalid("from and to are the same region")
	}
	from, err := w.regionIndex(c.From)
	if err != nil {
		return nil, err
	}
	to, err := w.regionIndex(c.To)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var changed []Pair
	for _, d := range w.directions {
		if d == nil {
			continue
		}
		forth := (from < 0 || d.from == from) && (to < 0 || d.to == to)
		back := !c.OneWay && (from < 0 || d.to == from) && (to < 0 || d.from == to)
		if forth || back {
			d.apply(c)
			changed = append(changed, w.pair(d))
		}
	}
	return changed, nil
}

// regionIndex returns the index of a region, or -1 for "".
func (w *Wan) regionIndex(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	i := slices.IndexFunc(w.cfg.Regions, func(r Region) bool { return r.Name == name })
	if i < 0 {
		var known []string
		for _, r := range w.cfg.Regions {
			known = append(known, r.Name)
		}
		return 0, &perto.Error{Op: "find region", Path: name, Kind: perto.KindNotFound, Err: fmt.Errorf("there are %s", strings.Join(known, ", "))}
	}
	return i, nil
}

func (d *direction) apply(c Change) {
	if c.Reset {
		d.now = d.initial
	}
	set(&d.now.Delay, c.Delay)
	set(&d.now.Jitter, c.Jitter)
	set(&d.now.Reorder, c.Reorder)
	set(&d.now.Loss, c.Loss)
	set(&d.now.Bandwidth, c.Bandwidth)
	set(&d.now.Cut, c.Cut)
	if d.now.Bandwidth != d.line.BitsPerSecond {
		d.line = delayqueue.Line{BitsPerSecond: d.now.Bandwidth} // packets that waited for the old line are already in flight
	}
	// Packets on a new, shorter path overtake packets on the old path, as after a change
	// of routes.
	d.latest = nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}
