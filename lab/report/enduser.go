package report

import (
	"cmp"
	"context"
	"fmt"

	"perto"
	"perto/geodata"
	"perto/lab/model"
)

// EndUser is the report "end-user-mapping". It repeats the experiments of F. Chen,
// R. Sitaraman and M. Torres, "End-User Mapping" (SIGCOMM 2015), in a model without
// packets. It also has two cures for resolvers that send no client subnet.
//
// NS chooses the site nearest to the resolver. CANS chooses the best one for the mean of
// the resolver's clients, and EU the nearest one to each client.
type EndUser struct {
	Seed      uint64 `json:"seed"`
	Orders    int    `json:"orders"` // random orders of the sites; figures are means over them
	Blocks    int    `json:"blocks"` // of clients
	Resolvers int    `json:"resolvers"`
	Universe  int    `json:"universe"` // possible sites

	RollOut    []RollOut    `json:"roll_out"`   // clients of public resolvers, by group
	Deployment []Deployment `json:"deployment"` // by number of sites
	Learned    []Learned    `json:"learned"`    // by sampled clients of each resolver
	Escalation []Escalation `json:"escalation"` // by regret
	Transfers  []Transfer   `json:"transfers"`  // by size and method
	Classes    []ClassShare `json:"classes"`    // kinds of resolvers
	Figures    []Figure     `json:"figures"`    // of the model, beside the paper's
	Inputs     []Input      `json:"inputs"`
	Gates      []Gate       `json:"gates"`
}

// RollOut compares resolver-based mapping with end-user mapping for the clients of
// public resolvers in one group of countries.
type RollOut struct {
	Group       string  `json:"group"` // "high" or "low" expectation
	Demand      float64 `json:"demand_share"`
	Before      Served  `json:"before"`
	After       Served  `json:"after"`
	PaperBefore Served  `json:"paper_before"` // zero: not printed in the paper
	PaperAfter  Served  `json:"paper_after"`
}

// Served has the figures of clients with one kind of mapping.
type Served struct {
	DistanceMean  float64      `json:"distance_mean_miles"`
	DistanceP90   float64      `json:"distance_p90_miles"`
	RTTMean       perto.Millis `json:"rtt_mean_ms"`
	RTTP75        perto.Millis `json:"rtt_p75_ms"`
	FirstByteMean perto.Millis `json:"first_byte_mean_ms"`
	FirstByteP75  perto.Millis `json:"first_byte_p75_ms"`
	DownloadMean  perto.Millis `json:"download_mean_ms"`
	DownloadP75   perto.Millis `json:"download_p75_ms"`
}

// Spread is a distribution of round-trip times to the serving site, weighted by demand.
type Spread struct {
	Mean perto.Millis `json:"mean_ms"`
	P95  perto.Millis `json:"p95_ms"`
	P99  perto.Millis `json:"p99_ms"`
}

// Deployment has the spreads of the three kinds of mapping with a number of sites.
type Deployment struct {
	Sites int    `json:"sites"`
	NS    Spread `json:"ns"`
	CANS  Spread `json:"cans"`
	EU    Spread `json:"eu"`
}

// Learned is CANS with some sampled clients of each resolver instead of all.
type Learned struct {
	Clients int     `json:"clients"`
	Spread  Spread  `json:"spread"`
	Gain    float64 `json:"gain_share"` // of the mean that full CANS gains
}

// Escalation is learned CANS, and redirects for the clients of resolvers with more
// regret than Theta.
type Escalation struct {
	Method     string       `json:"method"`
	Theta      perto.Millis `json:"theta_ms"`
	Resolvers  float64      `json:"resolvers"`        // escalated, mean over the orders
	Redirected float64      `json:"redirected_share"` // of demand
	Worse      float64      `json:"worse_share"`      // of demand: farther than with NS, by more than 1 ms
	Spread     Spread       `json:"spread"`
}

// Transfer has the times to fetch an object of one size, with the redirect charged.
type Transfer struct {
	Method       string       `json:"method"`
	Bytes        int          `json:"bytes"`
	Redirected   float64      `json:"redirected_share"`
	FirstByteP99 perto.Millis `json:"first_byte_p99_ms"`
	DownloadMean perto.Millis `json:"download_mean_ms"`
	DownloadP99  perto.Millis `json:"download_p99_ms"`
}

// ClassShare compares the clients of one class of resolvers before and after the cure.
type ClassShare struct {
	Class  string       `json:"class"`
	Demand float64      `json:"demand_share"`
	NS     perto.Millis `json:"ns_mean_ms"`
	Cure   perto.Millis `json:"cure_mean_ms"`
	EU     perto.Millis `json:"eu_mean_ms"`
	// Download is the mean time for 100 KB, with redirects charged.
	DownloadNS   perto.Millis `json:"ns_download_mean_ms"`
	DownloadCure perto.Millis `json:"cure_download_mean_ms"`
}

// Figure is one number of the model beside the paper's.
type Figure struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	Model   float64 `json:"model"`
	Paper   float64 `json:"paper"`
	Matches bool    `json:"matches"` // within a quarter of the paper's
}

// Input is a parameter of the model and its source.
type Input struct {
	Name       string `json:"name"`
	Value      string `json:"value"`
	Calibrated bool   `json:"calibrated"` // fitted by hand to the paper's figures
}

// Gate is a bound that the cure must keep.
type Gate struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Got   float64 `json:"got"`
	Limit float64 `json:"limit"`
	Met   bool    `json:"met"`
}

// EndUserConfig has the size of the experiment.
type EndUserConfig struct {
	Cities *geodata.Cities
	Seed   uint64
	Orders int // 100 by default, as in the paper
	Blocks int // 8000 by default
}

// defaultOrders is the number of orders in the paper.
const defaultOrders = 100

// The numbers of sites of the report. cureSites is the deployment of the cures, and
// rollOutSites that of the roll-out: not every site can serve a map.
const (
	cureSites    = 160
	rollOutSites = 150
)

// deployments are the numbers of sites in the paper's simulation.
var deployments = []int{20, 40, 80, 160, 320, 640, 1280, 2560}

// learnedClients are the numbers of sampled clients in the report.
var learnedClients = []int{0, 1, 2, 3, 5, 8, 16, 32}

// RunEndUser draws a world and computes the report.
func RunEndUser(ctx context.Context, cfg EndUserConfig) (*EndUser, error) {
	cfg.Orders = cmp.Or(cfg.Orders, defaultOrders)
	if n, most := len(cfg.Cities.All()), deployments[len(deployments)-1]; n < most {
		return nil, &perto.Error{Op: "run report", Path: "end-user-mapping", Kind: perto.KindInvalid, Err: fmt.Errorf("the table has %d cities, and the report needs %d sites", n, most)}
	}
	w := model.Draw(cfg.Cities, model.Config{Seed: cfg.Seed, Blocks: cfg.Blocks})
	s := newEndUserRun(w, cfg.Seed)
	orders, err := s.runOrders(ctx, cfg.Orders)
	if err != nil {
		return nil, err
	}
	e := &EndUser{Seed: cfg.Seed, Orders: cfg.Orders, Blocks: len(w.Blocks), Resolvers: len(w.Resolvers), Universe: len(w.Sites)}
	e.merge(orders)
	e.Figures = append(e.Figures, s.figures(e)...)
	e.Inputs = endUserInputs(w)
	e.judge()
	return e, nil
}

// judge compares the cure with its bounds.
func (e *EndUser) judge() {
	atMost := func(name, unit string, got, limit float64) {
		e.Gates = append(e.Gates, Gate{name, unit, got, limit, got <= limit})
	}
	var ns, eu Spread
	for _, d := range e.Deployment {
		if d.Sites == cureSites {
			ns, eu = d.NS, d.EU
		}
	}
	for _, x := range e.Escalation {
		if x.Method != methodCure || x.Theta != perto.Millis(headlineTheta) {
			continue
		}
		e.Gates = append(e.Gates, Gate{"p99 RTT of resolver-based mapping, at least", "ms", ns.P99.Float(), 180, ns.P99.Float() >= 180})
		atMost("p99 RTT of the cure, at most", "ms", x.Spread.P99.Float(), 60)
		atMost("mean RTT of the cure over that of end-user mapping, at most", "", x.Spread.Mean.Float()/eu.Mean.Float(), 1.2)
		atMost("demand that is redirected, at most", "%", 100*x.Redirected, 8)
	}
	worse := 0.0
	for _, c := range e.Classes {
		worse = max(worse, c.Cure.Float()-c.NS.Float(), c.DownloadCure.Float()-c.DownloadNS.Float())
	}
	atMost("most that the mean of a class of resolvers gets worse (RTT, and 100 KB)", "ms", worse, 0)
}
