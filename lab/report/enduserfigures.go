package report

import (
	"math"
	"strconv"
	"time"

	"perto"
	"perto/lab/model"
)

// merge sets the results to the means over the orders.
func (e *EndUser) merge(orders []order) {
	n := len(orders)
	first := orders[0]
	spread := func(of func(o *order) Spread) Spread {
		var x Spread
		for i := range orders {
			y := of(&orders[i])
			x.Mean, x.P95, x.P99 = x.Mean+y.Mean, x.P95+y.P95, x.P99+y.P99
		}
		return Spread{x.Mean / perto.Millis(n), x.P95 / perto.Millis(n), x.P99 / perto.Millis(n)}
	}
	number := func(of func(o *order) float64) float64 {
		x := 0.0
		for i := range orders {
			x += of(&orders[i])
		}
		return x / float64(n)
	}
	duration := func(of func(o *order) perto.Millis) perto.Millis {
		return perto.Millis(number(func(o *order) float64 { return float64(of(o)) }))
	}
	for i, d := range first.deployments {
		e.Deployment = append(e.Deployment, Deployment{d.Sites,
			spread(func(o *order) Spread { return o.deployments[i].NS }),
			spread(func(o *order) Spread { return o.deployments[i].CANS }),
			spread(func(o *order) Spread { return o.deployments[i].EU })})
	}
	served := func(of func(o *order) *Served) Served {
		return Served{number(func(o *order) float64 { return of(o).DistanceMean }), number(func(o *order) float64 { return of(o).DistanceP90 }),
			duration(func(o *order) perto.Millis { return of(o).RTTMean }), duration(func(o *order) perto.Millis { return of(o).RTTP75 }),
			duration(func(o *order) perto.Millis { return of(o).FirstByteMean }), duration(func(o *order) perto.Millis { return of(o).FirstByteP75 }),
			duration(func(o *order) perto.Millis { return of(o).DownloadMean }), duration(func(o *order) perto.Millis { return of(o).DownloadP75 })}
	}
	for i, r := range first.rollOut {
		r.Before = served(func(o *order) *Served { return &o.rollOut[i].Before })
		r.After = served(func(o *order) *Served { return &o.rollOut[i].After })
		r.PaperBefore, r.PaperAfter = paperRollOut(r.Group)
		e.RollOut = append(e.RollOut, r)
	}
	var full Deployment
	for _, d := range e.Deployment {
		if d.Sites == cureSites {
			full = d
		}
	}
	for i, l := range first.learned {
		l.Spread = spread(func(o *order) Spread { return o.learned[i].Spread })
		l.Gain = float64(full.NS.Mean-l.Spread.Mean) / float64(full.NS.Mean-full.CANS.Mean)
		e.Learned = append(e.Learned, l)
	}
	for i, x := range first.escalation {
		x.Resolvers = number(func(o *order) float64 { return o.escalation[i].Resolvers })
		x.Redirected = number(func(o *order) float64 { return o.escalation[i].Redirected })
		x.Worse = number(func(o *order) float64 { return o.escalation[i].Worse })
		x.Spread = spread(func(o *order) Spread { return o.escalation[i].Spread })
		e.Escalation = append(e.Escalation, x)
	}
	for i, t := range first.transfers {
		t.Redirected = number(func(o *order) float64 { return o.transfers[i].Redirected })
		t.FirstByteP99 = duration(func(o *order) perto.Millis { return o.transfers[i].FirstByteP99 })
		t.DownloadMean = duration(func(o *order) perto.Millis { return o.transfers[i].DownloadMean })
		t.DownloadP99 = duration(func(o *order) perto.Millis { return o.transfers[i].DownloadP99 })
		e.Transfers = append(e.Transfers, t)
	}
	for i, c := range first.classes {
		c.NS = duration(func(o *order) perto.Millis { return o.classes[i].NS })
		c.Cure = duration(func(o *order) perto.Millis { return o.classes[i].Cure })
		c.EU = duration(func(o *order) perto.Millis { return o.classes[i].EU })
		c.DownloadNS = duration(func(o *order) perto.Millis { return o.classes[i].DownloadNS })
		c.DownloadCure = duration(func(o *order) perto.Millis { return o.classes[i].DownloadCure })
		e.Classes = append(e.Classes, c)
	}
}

// paperRollOut returns the figures that the paper prints for a group.
func paperRollOut(group string) (before, after Served) {
	const ms = perto.Millis(time.Millisecond)
	if group == "high" {
		return Served{DistanceMean: 2000, DistanceP90: 4573, RTTMean: 200 * ms, RTTP75: 220 * ms, FirstByteMean: 1000 * ms, FirstByteP75: 1399 * ms, DownloadMean: 300 * ms, DownloadP75: 272 * ms},
			Served{DistanceMean: 250, DistanceP90: 936, RTTMean: 100 * ms, RTTP75: 137 * ms, FirstByteMean: 700 * ms, FirstByteP75: 1072 * ms, DownloadMean: 150 * ms, DownloadP75: 157 * ms}
	}
	return Served{DistanceMean: 400, FirstByteP75: 830 * ms, DownloadP75: 192 * ms},
		Served{DistanceMean: 200, FirstByteP75: 667 * ms, DownloadP75: 102 * ms}
}

// matchShare is how far a figure may be from the paper's to count as a match.
const matchShare = 0.25

// figures compares the draw of the world, and the main results, with the paper.
func (s *endUserRun) figures(e *EndUser) []Figure {
	var out []Figure
	add := func(name, unit string, got, paper float64) {
		out = append(out, Figure{name, unit, got, paper, math.Abs(got-paper) <= matchShare*paper})
	}
	var all, public []weighted
	var publicDemand, middle, far float64
	for _, b := range s.Blocks {
		r := s.Resolvers[b.Resolver]
		miles := b.Place.DistanceKm(r.Place) / kmPerMile
		all = append(all, weighted{miles, b.Weight})
		switch {
		case r.Class == model.Public:
			public = append(public, weighted{miles, b.Weight})
			publicDemand += b.Weight
		case miles >= 1000:
			far += b.Weight
		case miles >= 500:
			middle += b.Weight
		}
	}
	add("clients of public resolvers", "% of demand", 100*publicDemand, 8)
	add("distance of client and resolver, median", "mi", quantile(all, 0.5), 162)
	add("the same, public resolvers", "mi", quantile(public, 0.5), 1028)
	add("clients of other resolvers at 1000 mi or more", "% of demand", 100*far, 6.2)
	add("clients of other resolvers at 500 to 1000 mi", "% of demand", 100*middle, 5.3)
	radii := s.publicRadii()
	add("radius of a public resolver's clients, 1 %", "mi", quantile(radii, 0.005), 470)
	add("radius of a public resolver's clients, 99 %", "mi", quantile(radii, 0.995), 3800)
	for _, r := range e.RollOut {
		for _, m := range r.compared() {
			if m.paperBefore > 0 {
				add(m.name+", "+r.Group+" group, resolver", m.unit, m.before, m.paperBefore)
				add(m.name+", "+r.Group+" group, end user", m.unit, m.after, m.paperAfter)
			}
		}
	}
	least := e.Deployment[len(e.Deployment)-1]
	for _, d := range e.Deployment {
		if d.Sites >= cureSites && d.NS.P99 < least.NS.P99 {
			least = d
		}
	}
	first, last := e.Deployment[0], e.Deployment[len(e.Deployment)-1]
	add("lowest p99 RTT of NS from 160 sites on", "ms", least.NS.P99.Float(), 186)
	add("mean RTT of EU with few sites ("+strconv.Itoa(first.Sites)+")", "ms", first.EU.Mean.Float(), 35)
	add("mean RTT of EU with most sites, below", "ms", last.EU.Mean.Float(), 10)
	out[len(out)-1].Matches = last.EU.Mean.Float() < 10
	add("mean RTT of NS over that of EU with most sites", "times", last.NS.Mean.Float()/last.EU.Mean.Float(), 1)
	return out
}

// compared is one quantity of the roll-out.
type compared struct {
	name, unit                             string
	before, after, paperBefore, paperAfter float64
}

func (r *RollOut) compared() []compared {
	var out []compared
	add := func(name, unit string, of func(s *Served) float64) {
		out = append(out, compared{name, unit, of(&r.Before), of(&r.After), of(&r.PaperBefore), of(&r.PaperAfter)})
	}
	add("mapping distance, mean", "mi", func(s *Served) float64 { return s.DistanceMean })
	add("mapping distance, p90", "mi", func(s *Served) float64 { return s.DistanceP90 })
	add("RTT, mean", "ms", func(s *Served) float64 { return s.RTTMean.Float() })
	add("RTT, p75", "ms", func(s *Served) float64 { return s.RTTP75.Float() })
	add("first byte, mean", "ms", func(s *Served) float64 { return s.FirstByteMean.Float() })
	add("first byte, p75", "ms", func(s *Served) float64 { return s.FirstByteP75.Float() })
	add("download, mean", "ms", func(s *Served) float64 { return s.DownloadMean.Float() })
	add("download, p75", "ms", func(s *Served) float64 { return s.DownloadP75.Float() })
	return out
}

// publicRadii returns the mean distance of the clients of each public site from their
// middle, with their demand.
func (s *endUserRun) publicRadii() []weighted {
	var out []weighted
	for _, r := range s.Resolvers {
		if r.Class != model.Public {
			continue
		}
		middle := s.Middle(r.Blocks)
		var distance []weighted
		for _, i := range r.Blocks {
			distance = append(distance, weighted{s.Blocks[i].Place.DistanceKm(middle) / kmPerMile, s.Blocks[i].Weight})
		}
		out = append(out, weighted{mean(distance), r.Weight})
	}
	return out
}

// endUserInputs lists the parameters of the model.
func endUserInputs(w *model.World) []Input {
	return []Input{
		{"cities", "GeoNames, 15,000 inhabitants or more, inside the binary", false},
		{"blocks of clients", strconv.Itoa(len(w.Blocks)) + " draws of a city, by population and demand of the country", false},
		{"demand of an inhabitant", "by country, 0.03 to 1", true},
		{"weight of a block", "lognormal, sigma 1", true},
		{"share of public resolvers", "by country, 1 to 36 %, for 2014", true},
		{"sites of the public resolver", "12, as in 2014; the next nearest with probability 0.3 at each step", true},
		{"other resolvers", "36 % local, 14 % at 70 to 240 km, 26 % at 250 to 540 km, 20.5 % national, 3.5 % abroad", true},
		{"possible sites", strconv.Itoa(len(w.Sites)) + " cities, by population^0.6 and demand^0.8", true},
		{"round trip", "4 ms + U(0, 3) + 2 d f L / 200 km/ms; f is 1.5, 2.3 or 2.5 by country", true},
		{"L", "lognormal, sigma 0.22, for each country and site; 4 % have a detour of 20 to 110 ms", true},
		{"last mile", "lognormal, median 38 ms, sigma 0.7; 1.9 times as much where f > 1.5", true},
		{"page", "first byte 400 ms + 3 RTT, download 1.5 RTT", true},
		{"transfer", "TCP and TLS 1.3, first window 14,600 bytes, slow start without loss; a redirect is charged", false},
	}
}
