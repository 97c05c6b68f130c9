package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"perto/geodata"
	"perto/lab"
	"perto/node"
)

// TestDistance runs the report over real packets. After a minute of visits, the
// office is served near by, public resolvers are better than before, and resolvers that
// send client subnets are as before.
func TestDistance(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes more than a minute of real time; without -short it runs")
	}
	geo, err := node.OpenMap("")
	if err != nil {
		t.Fatal(err)
	}
	names, err := geodata.LoadCities()
	if err != nil {
		t.Fatal(err)
	}
	d, err := RunDistance(t.Context(), lab.Config{Geo: geo, Place: names.FindCity, Ports: lab.Ports{Ephemeral: true}}, time.Minute, func(text string) { t.Log(text) })
	if err != nil {
		t.Fatal(err)
	}
	var text, page bytes.Buffer
	if err := d.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteHTML(&page); err != nil || strings.Contains(page.String(), "NaN") || strings.Contains(page.String(), "ZgotmplZ") || strings.Count(page.String(), "<svg") != 6 {
		t.Errorf("the page: %v, %d drawings", err, strings.Count(page.String(), "<svg"))
	}
	t.Log("\n" + text.String())
	for _, c := range d.Classes {
		before, after := c.Before.RTT, c.After.RTT
		switch c.Kind {
		case "office":
			if c.Clients < 16 || c.After.KmMean > 1000 || after.P95 > before.P95/2 {
				t.Errorf("the office: %+v", c)
			}
		case "public":
			if c.Clients < 48 || c.Cities < 3 || after.Mean >= before.Mean || c.After.KmMean >= c.Before.KmMean {
				t.Errorf("public resolvers: %+v", c)
			}
		case "public-ecs":
			if c.Clients < 48 || c.After.KmMean != c.Before.KmMean {
				t.Errorf("resolvers with client subnets: %+v", c)
			}
		case "isp":
			if c.Clients != 33 || c.After.KmMean > 1.05*c.Before.KmMean {
				t.Errorf("resolvers of providers: %+v", c)
			}
		}
	}
}
