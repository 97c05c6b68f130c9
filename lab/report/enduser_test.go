package report

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"perto"
	"perto/geodata"
)

var update = flag.Bool("update", false, "rewrite golden files")

// endUser runs a small experiment: few orders and blocks, all sites.
func endUser(t *testing.T, seed uint64) *EndUser {
	t.Helper()
	cities, err := geodata.LoadCities()
	if err != nil {
		t.Fatal(err)
	}
	e, err := RunEndUser(t.Context(), EndUserConfig{Cities: cities, Seed: seed, Orders: 2, Blocks: 3000})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEndUserKeepsThePapersOrder checks orderings and loose bounds around the paper's
// figures.
func TestEndUserKeepsThePapersOrder(t *testing.T) {
	e := endUser(t, 1)
	at := make(map[int]Deployment)
	for _, d := range e.Deployment {
		at[d.Sites] = d
		if d.EU.P99 > d.CANS.P99 || d.CANS.P99 > d.NS.P99 || d.EU.Mean > d.CANS.Mean || d.CANS.Mean > d.NS.Mean {
			t.Errorf("%d sites: EU %s, CANS %s, NS %s are out of order", d.Sites, d.EU.text(), d.CANS.text(), d.NS.text())
		}
	}
	if flat := at[2560].NS.P99.Float() / at[160].NS.P99.Float(); flat < 0.8 || flat > 1.2 {
		t.Errorf("the p99 of NS is %s with 160 sites and %s with 2560: not flat", at[160].NS.P99, at[2560].NS.P99)
	}
	if at[2560].EU.P99 > at[1280].EU.P99 || at[2560].EU.Mean.Float() >= 10 {
		t.Errorf("EU is %s with 1280 sites and %s with 2560; more sites must help", at[1280].EU.text(), at[2560].EU.text())
	}
	high := e.RollOut[0]
	if high.Before.DistanceMean < 1500 || high.Before.DistanceMean > 3000 || high.After.DistanceMean > 500 ||
		high.Before.RTTMean.Float() < 130 || high.After.RTTMean.Float() > 130 {
		t.Errorf("the roll-out is far from the paper's: %+v", high)
	}
	for _, r := range e.RollOut {
		if r.After.DistanceMean >= r.Before.DistanceMean || r.After.RTTMean >= r.Before.RTTMean {
			t.Errorf("%s group: end-user mapping is not better: %+v", r.Group, r)
		}
	}
	for i, l := range e.Learned[1:] {
		if l.Spread.Mean > e.Learned[i].Spread.Mean {
			t.Errorf("%d clients of each resolver are worse than %d", l.Clients, e.Learned[i].Clients)
		}
	}
}

// TestEndUserCureHelps checks the escalation: less regret is allowed, more demand is
// redirected, and the tail is shorter.
func TestEndUserCureHelps(t *testing.T) {
	e := endUser(t, 1)
	var before Escalation
	for _, x := range e.Escalation {
		if x.Method == methodCure && before.Method == methodCure && (x.Redirected < before.Redirected || x.Spread.P99 > before.Spread.P99) {
			t.Errorf("theta %s redirects %.3f (p99 %s), theta %s %.3f (p99 %s)", x.Theta, x.Redirected, x.Spread.P99, before.Theta, before.Redirected, before.Spread.P99)
		}
		before = x
	}
	for _, g := range e.Gates {
		if !g.Met && !strings.HasPrefix(g.Name, "p99") { // 3000 blocks make coarse tails
			t.Errorf("%s: %.2f %s, limit %.1f", g.Name, g.Got, g.Unit, g.Limit)
		}
	}
	for _, size := range transferBytes {
		i := slices.IndexFunc(e.Transfers, func(x Transfer) bool { return x.Bytes == size && x.Method == methodCANS })
		if learned, cure := e.Transfers[i], e.Transfers[i+1]; cure.DownloadMean > learned.DownloadMean || cure.FirstByteP99 < learned.FirstByteP99 {
			t.Errorf("%d bytes: redirects must shorten downloads and delay first bytes: %+v, %+v", size, learned, cure)
		}
	}
}

func TestEndUserDependsOnTheSeedAlone(t *testing.T) {
	a, _ := json.Marshal(endUser(t, 5))
	b, _ := json.Marshal(endUser(t, 5))
	c, _ := json.Marshal(endUser(t, 6))
	if string(a) != string(b) {
		t.Error("one seed gave two reports")
	}
	if string(a) == string(c) {
		t.Error("two seeds gave one report")
	}
}

// TestEndUserForms checks the shape of the JSON, the text and the page.
func TestEndUserForms(t *testing.T) {
	e := endUser(t, 1)
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]bool)
	shape("", value, keys)
	var list []string
	for k := range keys {
		list = append(list, k)
	}
	slices.Sort(list)
	got := strings.Join(list, "\n") + "\n"
	const golden = "testdata/enduser.shape"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || got != string(want) {
		t.Errorf("the shape of the JSON changed (%v); got\n%s", err, got)
	}
	var text, page strings.Builder
	if err := e.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"[4573]", "CANS", "learned + redirects", "5 MB", "Bounds of the cure", "do not match", "calibrated"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text has no %q", want)
		}
	}
	if err := e.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(page.String(), "<svg"); n != 8 || strings.Contains(page.String(), "NaN") || strings.Contains(page.String(), "http") {
		t.Errorf("the page has %d plots, want 8, no NaN and nothing from elsewhere", n)
	}
}

// shape adds the paths of all keys of a JSON value, with the types of the leaves.
func shape(at string, v any, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			shape(at+"."+k, x, out)
		}
	case []any:
		for _, x := range v {
			shape(at+"[]", x, out)
		}
	default:
		out[fmt.Sprintf("%s %T", at, v)] = true
	}
}

func TestEndUserNeedsCities(t *testing.T) {
	_, err := RunEndUser(t.Context(), EndUserConfig{Cities: &geodata.Cities{}, Seed: 1, Orders: 1})
	if e, ok := errors.AsType[*perto.Error](err); !ok || e.Kind != perto.KindInvalid {
		t.Errorf("got %v", err)
	}
}

func TestQuantileByWeight(t *testing.T) {
	list := []weighted{{3, 1}, {1, 8}, {2, 1}}
	if a, b, c := quantile(list, 0.5), quantile(list, 0.85), quantile(list, 0.99); a != 1 || b != 2 || c != 3 {
		t.Errorf("got %v, %v, %v, want 1, 2, 3", a, b, c)
	}
	if m := mean(list); math.Abs(m-1.3) > 1e-9 {
		t.Errorf("the mean is %v, want 1.3", m)
	}
}
