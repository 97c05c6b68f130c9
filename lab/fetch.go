package lab

import (
	"context"

	"perto/lab/access"
)

// Fetched is one fetch from a vantage, with its times.
type Fetched = access.Fetched

// Fetch fetches a URL like a browser at the vantage.
func (v *Vantage) Fetch(ctx context.Context, target string) (*Fetched, error) {
	f, err := v.Client.Fetch(ctx, target)
	if err != nil {
		return nil, err
	}
	f.Place = v.Place.String()
	return f, nil
}
