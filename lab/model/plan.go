package model

import (
	"cmp"
	"slices"
	"time"

	"perto"
	"perto/geodata"
	"perto/mapping"
	"perto/replicas"
)

// Users are users at one place.
type Users struct {
	Place  perto.Place
	Weight float64 // in any unit
}

// planPoints and planCandidates bound the work of a plan: the cities with most demand.
const (
	planPoints     = 8000
	planCandidates = 1500
)

// DemandOf returns the cities with most demand as users: population times the demand of
// an inhabitant.
func DemandOf(cities *geodata.Cities) []Users {
	var out []Users
	for _, c := range cities.All() {
		out = append(out, Users{c.Place, float64(c.Population) * Demand(c.Country)})
	}
	slices.SortStableFunc(out, func(a, b Users) int { return cmp.Compare(b.Weight, a.Weight) })
	return out[:min(planPoints, len(out))]
}

// Addition is a city that a plan adds.
type Addition struct {
	Place     perto.Place  `json:"place"`
	SavedMean perto.Millis `json:"saved_mean_ms"` // of all users
	SavedP95  perto.Millis `json:"saved_p95_ms"`
	Mean      perto.Millis `json:"mean_ms"` // of all users, with this city
	P95       perto.Millis `json:"p95_ms"`
	Share     float64      `json:"share"`     // of users that it serves
	Countries []string     `json:"countries"` // of most of these users, at most 3
}

// Plan is a list of cities where new sites save most.
type Plan struct {
	Mean      perto.Millis `json:"mean_ms"` // with the present sites
	P95       perto.Millis `json:"p95_ms"`
	Additions []Addition   `json:"additions"`
}

// NewPlan adds n cities to sites, one after the other. Each one is the city that saves
// most of the mean RTT to the nearest site, as mapping estimates it. It adds fewer when
// no city saves more.
func NewPlan(users []Users, sites []replicas.Site, cities *geodata.Cities, n int) *Plan {
	var candidates []replicas.Site
	for _, u := range DemandOf(cities)[:min(planCandidates, len(cities.All()))] {
		candidates = append(candidates, replicas.Site{Place: u.Place})
	}
	now := make([]mapping.Cost, len(users)) // to the nearest site
	saves := mapping.NewCosts(len(users), len(candidates))
	present, added := mapping.PriorRTT(sites), mapping.PriorRTT(candidates)
	row, rest := make([]time.Duration, len(sites)), make([]time.Duration, len(candidates))
	total := 0.0
	for i, u := range users {
		present(row, mapping.Clients{Place: u.Place})
		added(rest, mapping.Clients{Place: u.Place})
		now[i] = mapping.CostOf(slices.Min(row))
		for k, d := range rest {
			saves.Row(i)[k] = mapping.CostOf(d)
		}
		total += u.Weight
	}
	p := &Plan{}
	p.Mean, p.P95 = spreadOf(users, now, total)
	mean, p95 := p.Mean, p.P95
	for range n {
		gain := make([]float64, len(candidates))
		for i, u := range users {
			for k, c := range saves.Row(i) {
				if c < now[i] {
					gain[k] += u.Weight * float64(now[i]-c)
				}
			}
		}
		best := slices.Index(gain, slices.Max(gain))
		if gain[best] <= 0 {
			break
		}
		a := Addition{Place: candidates[best].Place}
		from := make(map[string]float64)
		for i, u := range users {
			if c := saves.Row(i)[best]; c < now[i] {
				now[i] = c
				a.Share += u.Weight / total
				from[u.Place.Country] += u.Weight
			}
		}
		a.Mean, a.P95 = spreadOf(users, now, total)
		a.SavedMean, a.SavedP95 = mean-a.Mean, p95-a.P95
		mean, p95 = a.Mean, a.P95
		for c := range from {
			a.Countries = append(a.Countries, c)
		}
		slices.SortFunc(a.Countries, func(x, y string) int { return cmp.Or(cmp.Compare(from[y], from[x]), cmp.Compare(x, y)) })
		a.Countries = a.Countries[:min(3, len(a.Countries))]
		p.Additions = append(p.Additions, a)
	}
	return p
}

// spreadOf returns the mean and the 95th percentile of costs by the weight of users.
func spreadOf(users []Users, costs []mapping.Cost, total float64) (mean, p95 perto.Millis) {
	order := make([]int, len(users))
	sum := 0.0
	for i, u := range users {
		order[i] = i
		sum += u.Weight * float64(costs[i].Duration())
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(costs[a], costs[b]) })
	seen := 0.0
	for _, i := range order {
		if seen += users[i].Weight; seen >= 0.95*total {
			return perto.Millis(sum / total), perto.Millis(costs[i].Duration())
		}
	}
	return perto.Millis(sum / total), 0
}
