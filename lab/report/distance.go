package report

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"

	"perto"
	"perto/lab"
)

// Distance is the report "resolver-distance". Clients behind different kinds of resolvers
// load the site over real packets, first as the name servers map resolvers, and then
// after they have learned where the clients of resolvers are.
type Distance struct {
	Site    string          `json:"site"`
	Learned perto.Millis    `json:"learned_for_ms"` // time with visitors before the second measurement
	Classes []DistanceClass `json:"classes"`
	Clients []DistanceHop   `json:"clients"`
	Gates   []Gate          `json:"gates"`
}

// DistanceClass has the figures of the clients behind one kind of resolver.
type DistanceClass struct {
	Kind    string          `json:"kind"` // isp, office, public, public-ecs
	Text    string          `json:"text"`
	Clients int             `json:"clients"`
	Cities  int             `json:"cities"`
	Before  DistanceFigures `json:"by_resolver"` // mapping by the resolver's place
	After   DistanceFigures `json:"learned"`
}

// DistanceFigures are distributions over the clients of a class.
type DistanceFigures struct {
	KmMean    float64       `json:"mapping_distance_mean_km"`
	KmP95     float64       `json:"mapping_distance_p95_km"`
	RTT       DistanceTimes `json:"rtt"`        // to the serving edge
	FirstByte DistanceTimes `json:"first_byte"` // of a cached page, without DNS, with the connection
	Download  DistanceTimes `json:"download"`   // of a cached photo of some 100 kB, without DNS
}

// DistanceTimes is a distribution of times.
type DistanceTimes struct {
	Mean perto.Millis `json:"mean_ms"`
	P50  perto.Millis `json:"p50_ms"`
	P75  perto.Millis `json:"p75_ms"`
	P95  perto.Millis `json:"p95_ms"`
	P99  perto.Millis `json:"p99_ms"`
}

// DistanceHop is how one client was served before and after.
type DistanceHop struct {
	Name     string       `json:"name"`
	Kind     string       `json:"kind"`
	Place    perto.Place  `json:"place"`
	Resolver perto.Place  `json:"resolver_place"`
	Before   DistanceEdge `json:"by_resolver"`
	After    DistanceEdge `json:"learned"`
}

// DistanceEdge is the edge that served a client, with the times.
type DistanceEdge struct {
	PoP       string       `json:"pop"`
	Place     perto.Place  `json:"place"`
	Km        float64      `json:"km"`
	RTT       perto.Millis `json:"rtt_ms"`
	FirstByte perto.Millis `json:"first_byte_ms"`
	Download  perto.Millis `json:"download_ms"`
}

// The measured objects of the demo world's shop.
const (
	distancePage  = "http://www.shop.example/"
	distancePhoto = "http://www.shop.example/photo/3.png"
	// distanceAtATime is the number of clients that fetch at a time. With more, they would
	// wait for the processor instead of the network.
	distanceAtATime = 24
)

var distanceKinds = []struct {
	kind lab.ResolverKind
	text string
}{
	{lab.ResolverISP, "the provider's own resolver, in the client's city"},
	{lab.ResolverOffice, "an enterprise's resolver on another continent"},
	{lab.ResolverPublic, "a public resolver that sends no client subnet"},
	{lab.ResolverPublicECS, "a public resolver that sends the client subnet"},
}

// RunDistance measures in a world without tags, and then in one with tags after its clients
// have visited the site for some time.
func RunDistance(ctx context.Context, cfg lab.Config, visits time.Duration, progress func(text string)) (*Distance, error) {
	d := &Distance{Site: "www.shop.example", Learned: perto.Millis(visits)}
	for _, learned := range []bool{false, true} {
		if err := d.run(ctx, cfg, learned, progress); err != nil {
			return nil, err
		}
	}
	d.summarize()
	return d, nil
}

func (d *Distance) run(ctx context.Context, cfg lab.Config, learned bool, progress func(string)) error {
	cfg.Crowd, cfg.Tags = true, learned
	progress("a world of clients starts")
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	if learned {
		progress(fmt.Sprintf("the clients visit the site for %.0f s, and the name servers learn", d.Learned.Duration().Seconds()))
		if err := l.StartVisitors(); err != nil {
			return err
		}
		if err := d.wait(ctx, l); err != nil {
			return err
		}
		l.StopVisitors()
	}
	progress("every client loads a page and a photo")
	clients := l.Clients()
	if d.Clients == nil {
		for _, v := range clients {
			d.Clients = append(d.Clients, DistanceHop{Name: v.Name, Kind: string(v.Kind), Place: v.Place, Resolver: l.ResolverOf(v).Host.End.Place})
		}
	}
	// The first visits fill the caches of edges, and are not measured. Resolvers forget the
	// answers from before the name servers learned.
	for _, v := range clients {
		l.ResolverOf(v).Flush()
	}
	for _, measured := range []bool{false, true} {
		if err := d.visit(ctx, l, clients, learned, measured); err != nil {
			return err
		}
	}
	return nil
}

// wait lets the clients visit. On a slow machine, packets and name servers are late: it waits
// longer, up to three times, until every name server uses what it has learned.
func (d *Distance) wait(ctx context.Context, l *lab.Lab) error {
	began := time.Now()
	visits := d.Learned.Duration()
	for waited := time.Duration(0); waited < visits || waited < 3*visits && !l.Learned(); waited = time.Since(began) {
		select {
		case <-time.After(min(time.Second, visits)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.Learned = perto.Millis(time.Since(began).Round(time.Second))
	return nil
}

// visit loads the page and the photo from every client.
func (d *Distance) visit(ctx context.Context, l *lab.Lab, clients []*lab.Vantage, learned, measured bool) error {
	slots := make(chan struct{}, distanceAtATime)
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, v := range clients {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			x := &d.Clients[i].Before
			if learned {
				x = &d.Clients[i].After
			}
			if !measured {
				v.Client.Forget()
			}
			page, err := l.Visit(ctx, v, distancePage)
			if err != nil {
				errs[i] = err
				return
			}
			photo, err := l.Visit(ctx, v, distancePhoto)
			if err != nil {
				errs[i] = err
				return
			}
			if p := page.Proximity; p != nil && measured {
				*x = DistanceEdge{PoP: p.PoP, Place: placeOf(l, p.PoP), Km: p.DistanceKm, RTT: p.RTT,
					FirstByte: page.Connect + page.FirstByte, Download: photo.Total - photo.DNS}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func placeOf(l *lab.Lab, pop string) perto.Place {
	for _, p := range l.World.World.PoPs {
		if string(p.Name) == pop {
			return p.Place
		}
	}
	return perto.Place{}
}

// summarize computes the figures of the classes and the gates.
func (d *Distance) summarize() {
	for _, k := range distanceKinds {
		c := DistanceClass{Kind: string(k.kind), Text: k.text}
		var before, after []DistanceEdge
		cities := make(map[perto.Place]bool)
		for _, h := range d.Clients {
			if h.Kind == c.Kind {
				before, after = append(before, h.Before), append(after, h.After)
				cities[h.Place] = true
			}
		}
		c.Clients, c.Cities, c.Before, c.After = len(before), len(cities), figuresOf(before), figuresOf(after)
		d.Classes = append(d.Classes, c)
		// Only classes that resolver-based mapping serves badly have a gate.
		if k.kind == lab.ResolverOffice || k.kind == lab.ResolverPublic {
			limit, got := c.Before.RTT.P95.Float()/2, c.After.RTT.P95.Float()
			d.Gates = append(d.Gates, Gate{Name: fmt.Sprintf("%s: p95 RTT at most half of that by resolver", c.Kind), Limit: limit, Got: got, Unit: "ms", Met: got <= limit})
		}
	}
}

func figuresOf(list []DistanceEdge) DistanceFigures {
	var f DistanceFigures
	var km []float64
	for _, e := range list {
		km = append(km, e.Km)
		f.KmMean += e.Km / float64(len(list))
	}
	f.KmP95 = at(km, .95)
	f.RTT = timesOf(list, func(e *DistanceEdge) perto.Millis { return e.RTT })
	f.FirstByte = timesOf(list, func(e *DistanceEdge) perto.Millis { return e.FirstByte })
	f.Download = timesOf(list, func(e *DistanceEdge) perto.Millis { return e.Download })
	return f
}

func timesOf(list []DistanceEdge, of func(*DistanceEdge) perto.Millis) (t DistanceTimes) {
	var d []perto.Millis
	for i := range list {
		d = append(d, of(&list[i]))
		t.Mean += d[i] / perto.Millis(len(list))
	}
	t.P50, t.P75, t.P95, t.P99 = at(d, .5), at(d, .75), at(d, .95), at(d, .99)
	return t
}

// at returns a quantile of a list (the nearest rank), or zero for an empty list.
func at[T cmp.Ordered](list []T, q float64) (zero T) {
	if len(list) == 0 {
		return zero
	}
	s := slices.Sorted(slices.Values(list))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// cities returns a number of cities in words.
func cities(n int) string {
	if n == 1 {
		return "one city"
	}
	return fmt.Sprintf("%d cities", n)
}

// WriteText writes the report for a terminal.
func (d *Distance) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%d clients load %s over real packets, mapped by their resolver's place, and %.0f s after tags began to teach the name servers.\n\n", len(d.Clients), d.Site, d.Learned.Duration().Seconds())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "resolver\tclients\tmapped by\tkm mean\tkm p95\tRTT mean\tp50\tp75\tp95\tp99\tfirst byte p95\tdownload p95\t")
	for _, c := range d.Classes {
		for i, f := range []DistanceFigures{c.Before, c.After} {
			name, clients, by := c.Kind, strconv.Itoa(c.Clients), "resolver"
			if i == 1 {
				name, clients, by = "", "", "learned"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%.0f\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, clients, by, f.KmMean, f.KmP95,
				ms(f.RTT.Mean.Duration()), ms(f.RTT.P50.Duration()), ms(f.RTT.P75.Duration()), ms(f.RTT.P95.Duration()), ms(f.RTT.P99.Duration()),
				ms(f.FirstByte.P95.Duration()), ms(f.Download.P95.Duration()))
		}
	}
	t.Flush()
	fmt.Fprintln(w, "\nTimes are in ms. RTT is the round trip of the path to the serving edge.")
	for _, c := range d.Classes {
		fmt.Fprintf(w, "%s: %s; %d clients in %s\n", c.Kind, c.Text, c.Clients, cities(c.Cities))
	}
	fmt.Fprintln(w)
	for _, g := range d.Gates {
		fmt.Fprintf(w, "%s: %s, %.1f of %.1f %s\n", g.Word(), g.Name, g.Got, g.Limit, g.Unit)
	}
	return nil
}
