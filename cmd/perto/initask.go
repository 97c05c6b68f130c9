package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"

	"strings"

	"perto"
	"perto/config"
)

// ask asks for values that the flags do not have. When the input has no answers, it
// returns an error that names the flags.
func (c *initCmd) ask(e *env, place config.PlaceResolver) error {
	for _, text := range c.Machine { // a mistake in a flag comes before any question
		m, err := config.ParseMachine(text)
		if err == nil {
			_, err = place(m.Place)
		}
		if err != nil {
			return err
		}
	}
	if c.Domain != "" && c.Origin != "" && len(c.Machine) > 0 {
		return nil
	}
	d := &dialogue{lines: readLines(e.in), done: e.ctx.Done(), out: e.err}
	fmt.Fprintln(e.err, "A CDN needs a zone that is delegated to it, an origin, and machines. Ctrl-C ends without writing anything.")
	if c.Domain == "" {
		c.Domain = d.ask("Zone that you will delegate (cdn.example.com)", "", domainName)
		if c.Service == "" {
			c.Service = d.ask("Name that clients use", "www."+perto.CanonicalName(c.Domain), domainName)
		}
		if len(c.Alias) == 0 {
			c.Alias = strings.Fields(d.ask("Your names that will have a CNAME to it, if any", "none", nil))
			if len(c.Alias) == 1 && c.Alias[0] == "none" {
				c.Alias = nil
			}
		}
	}
	if c.Origin == "" {
		c.Origin = d.ask("Origin, where the content comes from (https://origin.example.com)", "", originURL)
	}
	for len(c.Machine) == 0 || d.more {
		m := d.machine(len(c.Machine), place)
		if d.err != nil || m == "" {
			break
		}
		c.Machine = append(c.Machine, m)
	}
	if d.err != nil {
		return &perto.Error{Op: "read missing values", Kind: perto.KindInvalid, Err: d.err, Hint: "give --domain, --origin and --machine"}
	}
	return nil
}

// dialogue asks questions, line by line.
type dialogue struct {
	lines <-chan string // closed when the input ends
	done  <-chan struct{}
	out   io.Writer
	more  bool  // ask for another machine
	err   error // no further answers
}

// readLines reads lines in the background. Reading a terminal cannot be interrupted, so
// the goroutine may stay until the process ends.
func readLines(in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- strings.TrimSpace(s.Text())
		}
	}()
	return lines
}

// ask asks until the answer is valid. An empty answer stands for usual.
func (d *dialogue) ask(question, usual string, check func(string) error) string {
	for d.err == nil {
		fmt.Fprint(d.out, question)
		if usual != "" {
			fmt.Fprintf(d.out, " [%s]", usual)
		}
		fmt.Fprint(d.out, ": ")
		line, ok := "", false
		select {
		case line, ok = <-d.lines:
		case <-d.done:
		}
		if !ok {
			fmt.Fprintln(d.out)
			d.err = errors.New("the input has no answer")
			return ""
		}
		if line == "" {
			line = usual
		}
		if line == "" && check == nil {
			return ""
		}
		if check != nil {
			if err := check(line); err != nil {
				fmt.Fprintf(d.out, "  %v\n", err)
				continue
			}
		}
		return line
	}
	return ""
}

// machine asks for the n-th machine and returns it in the form of --machine, or "" for no
// more.
func (d *dialogue) machine(n int, place config.PlaceResolver) string {
	d.more = true
	question := fmt.Sprintf("Name of machine %d (for example gru-1; the part before the hyphen is its PoP)", n+1)
	var name string
	if n == 0 {
		name = d.ask(question, "", config.CheckLabel)
	} else {
		name = d.ask(question+", or Enter to end", "", func(s string) error {
			if s == "" {
				return nil
			}
			return config.CheckLabel(s)
		})
	}
	if name == "" {
		return ""
	}
	where := d.ask("  City", "", func(s string) error {
		p, err := place(s)
		if err == nil && p.String() != s {
			fmt.Fprintf(d.out, "  That is %s.\n", p)
		}
		return err
	})
	addresses := d.ask("  Public addresses, separated by commas", "", func(s string) error {
		_, err := config.ParseMachine("x=x=" + strings.ReplaceAll(s, " ", ""))
		if err != nil {
			for a := range strings.SplitSeq(s, ",") {
				if _, err := netip.ParseAddr(strings.TrimSpace(a)); err != nil {
					return fmt.Errorf("%q is not an IP address", a)
				}
			}
		}
		return err
	})
	return name + "=" + where + "=" + strings.ReplaceAll(addresses, " ", "")
}

func domainName(s string) error {
	if err := config.CheckDomain(s); err != nil {
		return err
	}
	if !strings.Contains(perto.CanonicalName(s), ".") {
		return fmt.Errorf("%q is no domain name: it has no dot", s)
	}
	return nil
}

func originURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return fmt.Errorf(`%q is not an origin; use the form "http://host" or "https://host"`, s)
	}
	return nil
}
