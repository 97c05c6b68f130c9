package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"perto"
	"perto/config"
)

// noVantage is the error for a name that no vantage has. It offers the names that the
// user may mean, or else lists the vantages by region.
func (l *Lab) noVantage(name string) error {
	e := &perto.Error{Op: "find vantage", Path: name, Kind: perto.KindNotFound, Err: errors.New("there is no such vantage")}
	if similar := l.similarVantages(name); len(similar) > 0 {
		e.Hint = "did you mean " + strings.Join(similar, " or ") + "? perto lab vantages lists all"
		return e
	}
	if where, err := l.cfg.Place(name); name != "" && err == nil {
		near := slices.MinFunc(l.vantages, func(a, b *Vantage) int {
			return int(a.Place.DistanceKm(where) - b.Place.DistanceKm(where))
		})
		e.Hint = fmt.Sprintf("the vantage nearest to %s is %s, %.0f km away; perto lab vantages lists all", where, near.Name, near.Place.DistanceKm(where))
		return e
	}
	e.Err = fmt.Errorf("there is no such vantage; choose one of these:\n%s", strings.TrimRight(l.vantagesByRegion(), "\n"))
	return e
}

// maxSimilar is the largest number of names that an error offers.
const maxSimilar = 4

// similarVantages returns the vantages whose name begins with a text, or else those in the
// city of that name, or else the one with the most similar name.
func (l *Lab) similarVantages(text string) (similar []string) {
	if text == "" {
		return nil
	}
	word := strings.ReplaceAll(strings.ToLower(text), " ", "-")
	var names []string
	for _, v := range l.vantages {
		names = append(names, v.Name)
		if strings.HasPrefix(v.Name, word) {
			similar = append(similar, v.Name)
		}
	}
	if len(similar) > 0 && len(similar) <= maxSimilar {
		return similar
	}
	similar = nil
	if where, err := l.cfg.Place(text); err == nil {
		for _, v := range l.vantages {
			if v.Place == where {
				similar = append(similar, v.Name)
			}
		}
		return similar
	}
	if best, ok := config.Closest(word, names); ok {
		similar = append(similar, best)
	}
	return similar
}

// vantagesByRegion lists the vantages, with a line for each region.
func (l *Lab) vantagesByRegion() string {
	var regions []string
	names := make(map[string][]string)
	for _, v := range l.vantages {
		if names[v.Region] == nil {
			regions = append(regions, v.Region)
		}
		names[v.Region] = append(names[v.Region], v.Name)
	}
	var b strings.Builder
	for _, r := range regions {
		fmt.Fprintf(&b, "  %s: %s\n", r, strings.Join(names[r], ", "))
	}
	return b.String()
}
