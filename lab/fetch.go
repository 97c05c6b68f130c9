package lab

import (
	"context"
	"sync"

	"perto/lab/access"
)

// Fetched is one fetch from a vantage, with its times.
type Fetched = access.Fetched

// Fetch gets a URL as a browser at the vantage would.
func (v *Vantage) Fetch(ctx context.Context, target string) (*Fetched, error) {
	f, err := v.Client.Fetch(ctx, target)
	if err != nil {
		return nil, err
	}
	f.Place = v.Place.String()
	return f, nil
}

// FetchAll fetches a URL from several vantages at once; a failure is in its
// result.
func (l *Lab) FetchAll(ctx context.Context, vantages []*Vantage, target string) []Fetched {
	out := make([]Fetched, len(vantages))
	var wg sync.WaitGroup
	for i, v := range vantages {
		wg.Go(func() {
			f, err := v.Fetch(ctx, target)
			if err != nil {
				out[i] = Fetched{Vantage: v.Name, Place: v.Place.String(), URL: target, Error: err.Error()}
				return
			}
			out[i] = *f
		})
	}
	wg.Wait()
	return out
}
