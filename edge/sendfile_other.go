//go:build !linux

package edge

import (
	"time"

	"perto/edge/cache"
)

// sender does nothing, because only Linux has files for bodies.
type sender struct{}

func newSender(*conn) *sender { return nil }

func (c *conn) sendFile(*cache.File, int64, int64, time.Time) (done bool, err error) {
	return false, nil
}
