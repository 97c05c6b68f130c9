package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"

	"perto"
)

// WriteText writes the report for a terminal.
func (e *EndUser) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "End-user mapping (Chen, Sitaraman, Torres, SIGCOMM 2015) in a model: %d blocks of clients, %d resolvers,\n", e.Blocks, e.Resolvers)
	fmt.Fprintf(w, "up to %d sites of %d possible ones in %d random orders, seed %d. No packets are sent. The model is calibrated:\n", deployments[len(deployments)-1], e.Universe, e.Orders, e.Seed)
	fmt.Fprint(w, "read orderings and differences, not absolute values. [ ] are the paper's printed figures.\n")
	heading := func(format string, args ...any) *tabwriter.Writer {
		fmt.Fprintf(w, "\n"+format+"\n\n", args...)
		return tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	}
	t := heading("The roll-out: clients of public resolvers, %d sites", rollOutSites)
	fmt.Fprintln(t, "group\tquantity\tresolver\t[paper]\tend user\t[paper]\t")
	for _, r := range e.RollOut {
		for _, m := range r.compared() {
			fmt.Fprintf(t, "%s\t%s, %s\t%.0f\t%s\t%.0f\t%s\t\n", r.Group, m.name, m.unit, m.before, bracket(m.paperBefore), m.after, bracket(m.paperAfter))
		}
	}
	t.Flush()
	t = heading("RTT to the serving site in ms, mean / p95 / p99, by number of sites")
	fmt.Fprintln(t, "sites\tNS (resolver)\tCANS (its clients)\tEU (each client)\t")
	for _, d := range e.Deployment {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t\n", d.Sites, d.NS.text(), d.CANS.text(), d.EU.text())
	}
	t.Flush()
	t = heading("Learned CANS, %d sites: some clients of each resolver instead of all", cureSites)
	fmt.Fprintln(t, "clients\tmean / p95 / p99\tshare of the gain\t")
	for _, l := range e.Learned {
		fmt.Fprintf(t, "%d\t%s\t%.0f %%\t\n", l.Clients, l.Spread.text(), 100*l.Gain)
	}
	t.Flush()
	t = heading("Without client subnets, %d sites: learned CANS. Resolvers with more regret than theta are escalated: their clients\nthat gain more than %.0f ms from their own site are redirected. The redirect is not in these times.", cureSites, perto.Millis(redirectGain).Float())
	fmt.Fprintln(t, "method\ttheta\tresolvers\tdemand redirected\tmean / p95 / p99\tfarther than NS\t")
	for _, x := range e.Escalation {
		theta, resolvers, redirected := "", "", ""
		if x.Theta > 0 {
			theta, resolvers, redirected = fmt.Sprintf("%.0f ms", x.Theta.Float()), fmt.Sprintf("%.1f", x.Resolvers), fmt.Sprintf("%.1f %%", 100*x.Redirected)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.1f %%\t\n", x.Method, theta, resolvers, redirected, x.Spread.text(), 100*x.Worse)
	}
	t.Flush()
	t = heading("Transfers in ms with last mile, theta %.0f ms: redirects only where they pay, and with their own cost", perto.Millis(headlineTheta).Float())
	fmt.Fprintln(t, "size\tmethod\tdemand redirected\tfirst byte p99\tdownload mean\tdownload p99\t")
	for _, x := range e.Transfers {
		fmt.Fprintf(t, "%s\t%s\t%.1f %%\t%.0f\t%.0f\t%.0f\t\n", size(x.Bytes), x.Method, 100*x.Redirected, x.FirstByteP99.Float(), x.DownloadMean.Float(), x.DownloadP99.Float())
	}
	t.Flush()
	t = heading("Mean by class of resolver in ms: RTT, and the download of 100 KB")
	fmt.Fprintln(t, "class\tdemand\tRTT: NS\tcure\tEU\t100 KB: NS\tcure\t")
	for _, c := range e.Classes {
		fmt.Fprintf(t, "%s\t%.1f %%\t%.1f\t%.1f\t%.1f\t%.0f\t%.0f\t\n", c.Class, 100*c.Demand, c.NS.Float(), c.Cure.Float(), c.EU.Float(), c.DownloadNS.Float(), c.DownloadCure.Float())
	}
	t.Flush()
	e.writeChecks(w, heading)
	return nil
}

// writeChecks writes the bounds, the figures beside the paper's, and the inputs.
func (e *EndUser) writeChecks(w io.Writer, heading func(format string, args ...any) *tabwriter.Writer) {
	heading("Bounds of the cure")
	for _, g := range e.Gates {
		fmt.Fprintf(w, "  %-8s%s: %s %s, limit %s\n", g.Word(), g.Name, number(g.Got), g.Unit, number(g.Limit))
	}
	matching := 0
	for _, f := range e.Figures {
		if f.Matches {
			matching++
		}
	}
	heading("Figures of the paper that do not match within %.0f %% (%d of %d match)", 100*matchShare, matching, len(e.Figures))
	for _, f := range e.Figures {
		if !f.Matches {
			fmt.Fprintf(w, "  %s: %s %s %s\n", f.Name, number(f.Model), bracket(f.Paper), f.Unit)
		}
	}
	heading("Inputs")
	for _, in := range e.Inputs {
		fmt.Fprintf(w, "  %-12s%s: %s\n", in.Source(), in.Name, in.Value)
	}
}

// Word returns "met" or "MISSED".
func (g Gate) Word() string {
	if g.Met {
		return "met"
	}
	return "MISSED"
}

// Source returns "calibrated" or "given".
func (in Input) Source() string {
	if in.Calibrated {
		return "calibrated"
	}
	return "given"
}

// text returns the spread in the form "26 / 100 / 197".
func (s Spread) text() string {
	return fmt.Sprintf("%.1f / %.0f / %.0f", s.Mean.Float(), s.P95.Float(), s.P99.Float())
}

// bracket returns a figure of the paper, or nothing when the paper prints none.
func bracket(x float64) string {
	if x == 0 {
		return ""
	}
	return "[" + number(x) + "]"
}

// number writes a number with one decimal below 100, and two below 10.
func number(x float64) string {
	if x >= 100 {
		return fmt.Sprintf("%.0f", x)
	}
	if x < 10 {
		return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64)
	}
	return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64)
}

// size returns bytes as KB or MB.
func size(bytes int) string {
	if bytes >= 1e6 {
		return fmt.Sprintf("%d MB", bytes/1e6)
	}
	return fmt.Sprintf("%d KB", bytes/1e3)
}
