package perto

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Millis is a duration. JSON shows it as a number of milliseconds, so its key ends in
// "_ms".
type Millis time.Duration

// Duration returns the duration.
func (m Millis) Duration() time.Duration { return time.Duration(m) }

// Float returns the number of milliseconds.
func (m Millis) Float() float64 { return float64(m) / float64(time.Millisecond) }

// String returns the text of the duration, for example "1.5s".
func (m Millis) String() string { return time.Duration(m).String() }

// MarshalJSON writes the number of milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, m.Float(), 'f', -1, 64), nil
}

// UnmarshalJSON reads the output of MarshalJSON.
func (m *Millis) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	ms, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.Abs(ms) > float64(math.MaxInt64/time.Millisecond) {
		return fmt.Errorf("%.40q is no number of milliseconds", b)
	}
	*m = Millis(math.Round(ms * float64(time.Millisecond)))
	return nil
}
