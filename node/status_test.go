package node

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perto/replicas"
)

// TestStatusShowsOtherConfiguration: the second machine runs an old file.
func TestStatusShowsOtherConfiguration(t *testing.T) {
	world()
	synctest.Test(t, func(t *testing.T) {
		c := newLeaveCDN(t, nil)
		c.start("gru-1")
		c.startWith("lis-1", leaveConfig(t, strings.Replace(leaveWorld, `origin "http`, "map { ttl = \"1m\" }\norigin \"http", 1)))
		time.Sleep(differsTime)
		for name, other := range map[string]string{"gru-1": "lis-1", "lis-1": "gru-1"} {
			s := c.nodes[name].status()
			own, its := s.Replicas[0], s.Replicas[1]
			if name == "lis-1" {
				own, its = its, own
			}
			if s.Config == 0 || own.Config != s.Config || its.Config == 0 || its.Config == s.Config {
				t.Errorf("%s: got %v here, %v of its edge and %v of %s", name, s.Config, own.Config, its.Config, other)
			}
			for _, r := range s.Edge.NameServers {
				if !r.Fresh(time.Now()) || (r.World == s.Config) != (r.Name == name) {
					t.Errorf("%s: got %+v", name, r)
				}
			}
		}
		if got := strings.Count(c.log.String(), "runs another configuration than this node"); got != 2 {
			t.Errorf("logged %d times, want once by each:\n%s", got, c.log.String())
		}
		next := *c.nodes["lis-1"].cfg()
		next.World = c.cfg.World
		if err := c.nodes["lis-1"].Reload(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s := c.nodes["gru-1"].status(); s.Replicas[1].Config != s.Config || !strings.Contains(c.log.String(), "runs the configuration of this node again") {
			t.Errorf("after a reload: got %v and %v, log\n%s", s.Config, s.Replicas[1].Config, c.log.String())
		}
		for _, n := range c.nodes {
			n.Close()
		}
	})
}

// differsTime is longer than the time after which another configuration is logged.
const differsTime = 35 * time.Second

// TestIsolatedNodeIsShown cuts a machine off, and joins it again.
func TestIsolatedNodeIsShown(t *testing.T) {
	world()
	synctest.Test(t, func(t *testing.T) {
		c := newLeaveCDN(t, nil)
		c.start("gru-1")
		c.start("lis-1")
		time.Sleep(3 * time.Second)
		n := c.nodes["gru-1"]
		check := func(isolated bool) {
			t.Helper()
			s := n.status()
			if s.Isolated != isolated {
				t.Errorf("isolated: got %v, want %v", s.Isolated, isolated)
			}
			for _, r := range s.Edge.NameServers {
				if want := r.Name == "gru-1" || !isolated; r.Fresh(time.Now()) != want {
					t.Errorf("%s is reached: got %v, want %v", r.Name, !want, want)
				}
			}
		}
		check(false)
		c.net.CutBoth(c.hosts["gru-1"], c.hosts["lis-1"])
		time.Sleep(15 * time.Second)
		check(true)
		c.net.HealBoth(c.hosts["gru-1"], c.hosts["lis-1"])
		time.Sleep(15 * time.Second)
		check(false)
		for _, n := range c.nodes {
			n.Close()
		}
	})
}

// TestEdgeShowsItself: a machine without a name server has no registry.
func TestEdgeShowsItself(t *testing.T) {
	world()
	synctest.Test(t, func(t *testing.T) {
		c := newLeaveCDN(t, func(s string) string { return strings.Replace(s, `"dns", "edge"`, `"edge"`, 1) })
		c.start("gru-1")
		c.start("lis-1")
		time.Sleep(3 * time.Second)
		s := c.nodes["gru-1"].status()
		if len(s.Replicas) != 1 || s.Replicas[0].Name != "gru-1" || s.Replicas[0].PoP != "gru" || s.Replicas[0].State != replicas.StateUp {
			t.Errorf("replicas: got %+v", s.Replicas)
		}
		if len(s.Edge.NameServers) != 1 || s.Edge.NameServers[0].Name != "lis-1" || !s.Edge.NameServers[0].Fresh(time.Now()) {
			t.Errorf("name servers: got %+v", s.Edge.NameServers)
		}
		for _, n := range c.nodes {
			n.Close()
		}
	})
}
