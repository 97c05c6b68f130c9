package report

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"perto"
	"perto/lab/model"
	"perto/mapping"
)

// The parameters of learning.
const (
	// pseudoClients is the weight of the resolver's own location in the score of a site.
	pseudoClients = 2
	// enoughClients is the effective number of sampled clients from which a score is used.
	enoughClients = 8
	// learnDays is how long the learner runs, and clientsPerDay how many clients of each
	// resolver it samples in a day.
	learnDays     = 10
	clientsPerDay = 16
	halfLifeDays  = 3
	// The gain that a change needs. Half of it keeps the change.
	gainLeast = 3 * time.Millisecond
	gainShare = 0.10
)

// headlineTheta is the regret of a resolver above which its clients are redirected.
const headlineTheta = 20 * time.Millisecond

// redirectGain is how much nearer a client's own site must be for a redirect. The
// redirect itself takes a round trip to the far site.
const redirectGain = 15 * time.Millisecond

// thetas are the bounds in the report.
var thetas = []time.Duration{40 * time.Millisecond, headlineTheta, 10 * time.Millisecond, 5 * time.Millisecond}

// The names of the methods.
const (
	methodNS      = "resolver"
	methodCANS    = "learned"
	methodCure    = "learned + redirects"
	methodEndUser = "end user"
)

// cure is the state of the cures with one set of sites.
type cure struct {
	*endUserRun
	sites []uint16
	draw  *rand.Rand
	row   []mapping.Cost // scratch
	ns    []uint16       // by resolver
	eu    []uint16       // by row of RTT
	site  []uint16       // by resolver: learned
	// regret is the mean time, by resolver, that its clients lose to the nearest site of
	// each. It is learned from the same samples.
	regret []time.Duration
}

func (s *endUserRun) newCure(sites []uint16, draw *rand.Rand) *cure {
	c := &cure{endUserRun: s, sites: sites, draw: draw, row: make([]mapping.Cost, len(s.Sites))}
	ns, eu := newFront(s.RTT, s.resolverRows()), newFront(s.RTT, nil)
	ns.open(sites)
	eu.open(sites)
	c.ns, c.eu = ns.best, eu.best
	return c
}

func (c *cure) run(o *order) {
	o.learned = c.bySamples()
	c.learn()
	add := func(e Escalation, site func(b *model.Block) uint16) {
		e.Spread, e.Worse = c.spread(site), c.worse(site)
		o.escalation = append(o.escalation, e)
	}
	add(Escalation{Method: methodNS}, func(b *model.Block) uint16 { return c.ns[b.Resolver] })
	add(Escalation{Method: methodCANS}, func(b *model.Block) uint16 { return c.site[b.Resolver] })
	for _, theta := range thetas {
		add(c.escalate(theta), func(b *model.Block) uint16 { return c.cured(b, theta) })
	}
	add(Escalation{Method: methodEndUser}, func(b *model.Block) uint16 { return c.eu[b.Row] })
	for _, bytes := range transferBytes {
		for _, method := range []string{methodNS, methodCANS, methodCure, methodEndUser} {
			o.transfers = append(o.transfers, c.transfer(method, bytes))
		}
	}
	o.classes = c.classes()
}

// client draws a client of a resolver in proportion to demand.
func (c *cure) client(resolver int) int {
	sums := c.draws[resolver]
	i, _ := slices.BinarySearch(sums, c.draw.Float64()*sums[len(sums)-1])
	return c.Blocks[c.Resolvers[resolver].Blocks[min(i, len(sums)-1)]].Row
}

// score returns the best site for samples of a resolver's clients. row gets the scores.
func (c *cure) score(resolver int, samples []mapping.Sample) uint16 {
	c.RTT.Mean(c.row, append(samples, mapping.Sample{Row: c.Resolvers[resolver].Row, Weight: pseudoClients}), c.sites)
	return mapping.Nearest(c.row, c.sites)
}

// bySamples computes CANS with a few sampled clients of each resolver, without any
// threshold.
func (c *cure) bySamples() []Learned {
	most := learnedClients[len(learnedClients)-1]
	drawn := make([][]mapping.Sample, len(c.Resolvers))
	for r := range drawn {
		for range most {
			drawn[r] = append(drawn[r], mapping.Sample{Row: c.client(r), Weight: 1})
		}
	}
	var out []Learned
	chosen := make([]uint16, len(c.Resolvers))
	for _, k := range learnedClients {
		for r := range chosen {
			chosen[r] = c.score(r, slices.Clone(drawn[r][:k]))
		}
		out = append(out, Learned{Clients: k, Spread: c.spread(func(b *model.Block) uint16 { return chosen[b.Resolver] })})
	}
	return out
}

// learn samples clients for some days. Counts decay with a half-life. A resolver's site
// changes when its score is better by a margin, and changes back under half of it.
func (c *cure) learn() {
	c.site, c.regret = slices.Clone(c.ns), make([]time.Duration, len(c.Resolvers))
	decay := math.Exp2(-1.0 / halfLifeDays)
	for r := range c.Resolvers {
		var samples []mapping.Sample
		sum, squares := 0.0, 0.0
		learned := false
		for range learnDays {
			for i := range samples {
				samples[i].Weight *= decay
			}
			sum, squares = sum*decay, squares*decay*decay
			for range clientsPerDay {
				row := c.client(r)
				i := slices.IndexFunc(samples, func(s mapping.Sample) bool { return s.Row == row })
				if i < 0 {
					i = len(samples)
					samples = append(samples, mapping.Sample{Row: row})
				}
				samples[i].Weight++
				sum, squares = sum+1, squares+1
			}
			if sum*sum/squares < enoughClients {
				continue
			}
			best := c.score(r, slices.Clone(samples))
			now, then := c.row[c.ns[r]].Duration(), c.row[best].Duration()
			margin := max(gainLeast, time.Duration(gainShare*float64(now)))
			if learned {
				margin /= 2
			}
			if learned = now-then > margin; learned {
				c.site[r] = best
			} else {
				c.site[r] = c.ns[r]
			}
		}
		lost := 0.0
		for _, s := range samples {
			row := c.RTT.Row(s.Row)
			lost += s.Weight * float64((row[c.site[r]] - row[c.eu[s.Row]]).Duration())
		}
		c.regret[r] = time.Duration(lost / sum)
	}
}

// pays reports whether a client of an escalated resolver gains enough from its own site.
func (c *cure) pays(b *model.Block) bool {
	row := c.RTT.Row(b.Row)
	return row[c.site[b.Resolver]].Duration()-row[c.eu[b.Row]].Duration() > redirectGain
}

// cured returns the site of a block under escalation.
func (c *cure) cured(b *model.Block, theta time.Duration) uint16 {
	if c.regret[b.Resolver] > theta && c.pays(b) {
		return c.eu[b.Row]
	}
	return c.site[b.Resolver]
}

// escalate counts the redirects for the clients of resolvers with more regret than theta.
func (c *cure) escalate(theta time.Duration) Escalation {
	e := Escalation{Method: methodCure, Theta: perto.Millis(theta)}
	for _, r := range c.regret {
		if r > theta {
			e.Resolvers++
		}
	}
	for i := range c.Blocks {
		if b := &c.Blocks[i]; c.regret[b.Resolver] > theta && c.pays(b) {
			e.Redirected += b.Weight
		}
	}
	return e
}

// worse returns the share of demand that is farther from its site than with NS, by more
// than 1 ms.
func (c *cure) worse(site func(b *model.Block) uint16) float64 {
	share := 0.0
	for i := range c.Blocks {
		b := &c.Blocks[i]
		if row := c.RTT.Row(b.Row); row[site(b)].Duration() > row[c.ns[b.Resolver]].Duration()+time.Millisecond {
			share += b.Weight
		}
	}
	return share
}

// transferBytes are the sizes of the objects in the report.
var transferBytes = []int{20_000, 100_000, 5_000_000}

// firstWindow is the first congestion window, in bytes (RFC 6928: 10 segments).
const firstWindow = 14_600

// trips returns the round trips that an object needs in slow start, from an idle
// connection. Loss and the bandwidth of the access line are left out.
func trips(bytes int) float64 {
	return math.Ceil(math.Log2(float64(bytes)/firstWindow + 1))
}

// transfer computes the times of an object for a method. A connection takes two round
// trips (TCP and TLS 1.3).
func (c *cure) transfer(method string, bytes int) Transfer {
	t := Transfer{Method: method, Bytes: bytes}
	var first, whole []weighted
	for i := range c.Blocks {
		f, w, redirected := c.fetch(i, method, bytes)
		b := &c.Blocks[i]
		first, whole = append(first, weighted{f, b.Weight}), append(whole, weighted{w, b.Weight})
		if redirected {
			t.Redirected += b.Weight
		}
	}
	t.FirstByteP99, t.DownloadMean, t.DownloadP99 = millis(quantile(first, 0.99)), millis(mean(whole)), millis(quantile(whole, 0.99))
	return t
}

// fetch returns the times to the first and the last byte in milliseconds. A redirect
// costs the round trip of the 302, the name of the other edge and a second connection.
// It is made when the object needs so many round trips that they save more.
func (c *cure) fetch(block int, method string, bytes int) (first, whole float64, redirected bool) {
	b := &c.Blocks[block]
	row := c.RTT.Row(b.Row)
	ms := func(site uint16) float64 { return (row[site].Duration() + b.LastMile).Seconds() * 1000 }
	site := c.site[b.Resolver]
	switch method {
	case methodNS:
		site = c.ns[b.Resolver]
	case methodEndUser:
		site = c.eu[b.Row]
	}
	far, n := ms(site), trips(bytes)
	if method == methodCure && c.regret[b.Resolver] > headlineTheta {
		// The resolver asks a name server of the nearest site.
		resolver := c.RTT.Row(c.Resolvers[b.Resolver].Row)[c.ns[b.Resolver]].Duration()
		near, dns := ms(c.eu[b.Row]), (c.dns[block]+resolver).Seconds()*1000
		if n*(far-near) > far+2*near+dns {
			return 3*far + dns + 3*near, 3*far + dns + 2*near + n*near, true
		}
	}
	return 3 * far, 2*far + n*far, false
}

// classes compares the classes of resolvers.
func (c *cure) classes() []ClassShare {
	out := make([]ClassShare, model.Classes)
	for i := range out {
		out[i].Class = model.Class(i).String()
	}
	var sums [model.Classes][5]float64
	for i := range c.Blocks {
		b := &c.Blocks[i]
		row, class := c.RTT.Row(b.Row), c.Resolvers[b.Resolver].Class
		out[class].Demand += b.Weight
		_, ns, _ := c.fetch(i, methodNS, 100_000)
		_, cured, _ := c.fetch(i, methodCure, 100_000)
		for k, ms := range []float64{row[c.ns[b.Resolver]].Duration().Seconds() * 1000, row[c.cured(b, headlineTheta)].Duration().Seconds() * 1000,
			row[c.eu[b.Row]].Duration().Seconds() * 1000, ns, cured} {
			sums[class][k] += ms * b.Weight
		}
	}
	for i := range out {
		o, s := &out[i], sums[i]
		if o.Demand > 0 {
			o.NS, o.Cure, o.EU, o.DownloadNS, o.DownloadCure = millis(s[0]/o.Demand), millis(s[1]/o.Demand), millis(s[2]/o.Demand), millis(s[3]/o.Demand), millis(s[4]/o.Demand)
		}
	}
	return out
}
