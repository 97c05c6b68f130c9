package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"perto/config"
	"perto/internal/api"
	"perto/internal/printable"
	"perto/lab"
	"perto/mobility"
	"perto/node"
)

// The scripts of "perto completion" run "perto __complete WORD...". The words are those of
// the command line after the program's name, up to the cursor. The output has one candidate
// on a line, with a tab and a description, or the line completeFiles.

// completeCommand is the hidden command that the scripts run.
const completeCommand = "__complete"

// completeFiles asks the shell to complete names of files.
const completeFiles = ":files"

// candidate is a word that may stand at the cursor.
type candidate struct{ word, help string }

// completion is the state at the cursor of a command line.
type completion struct {
	ctx     context.Context
	api     string
	node    *kong.Node  // the command
	args    int         // positional arguments before the cursor
	pending *kong.Value // the flag whose value is at the cursor
	noFlags bool        // "--" was given
}

// complete prints the candidates for the last word.
func complete(ctx context.Context, out io.Writer, app *kong.Application, words []string) {
	c := &completion{ctx: ctx, api: os.Getenv("PERTO_API"), node: app.Node}
	if c.api == "" {
		c.api = config.DefaultAPI
	}
	if len(words) == 0 {
		words = []string{""}
	}
	words, done := joinColons(splitValues(words))
	last := words[len(words)-1]
	for _, w := range words[:len(words)-1] {
		c.read(w)
	}
	prefix := "" // a shell that keeps "--flag=value" in one word replaces all of it
	if name, value, ok := strings.Cut(last, "="); ok && strings.HasPrefix(name, "--") && !c.noFlags {
		c.read(name)
		prefix, last = name+"=", value
	}
	list, files := c.candidates(last)
	if files {
		fmt.Fprintln(out, completeFiles)
		return
	}
	for _, x := range list {
		if strings.HasPrefix(x.word, last) {
			help, _, _ := strings.Cut(x.help, "\n")
			fmt.Fprintf(out, "%s\t%s\n", strings.TrimPrefix(prefix+printable.Text(x.word), done), printable.Text(help))
		}
	}
}

// splitValues removes the words "=", which bash puts between a flag and its value.
func splitValues(words []string) (out []string) {
	for i, w := range words {
		if w == "=" && i > 0 {
			if i == len(words)-1 {
				out = append(out, "")
			}
			continue
		}
		out = append(out, w)
	}
	return out
}

// joinColons joins words that bash splits at colons, such as 127.0.0.1:8080. It also
// returns the part of the last word that bash does not replace.
func joinColons(words []string) (out []string, done string) {
	join := false // with the next word
	for _, w := range words {
		colons := w != "" && strings.Trim(w, ":") == ""
		switch {
		case !join && !colons || len(out) == 0:
			out, done = append(out, w), ""
		case colons:
			out[len(out)-1] += w
			done = out[len(out)-1]
		default:
			out[len(out)-1] += w
		}
		join = colons
	}
	return out, done
}

// read takes one word before the cursor.
func (c *completion) read(w string) {
	switch {
	case c.pending != nil:
		if c.pending.Name == "api" {
			c.api = w
		}
		c.pending = nil
	case w == "--":
		c.noFlags = true
	case strings.HasPrefix(w, "-") && len(w) > 1 && !c.noFlags:
		name, value, given := strings.Cut(w, "=")
		if f := c.flag(name); f != nil && !f.IsBool() && !f.IsCounter() {
			if c.pending = f.Value; given {
				c.read(value)
			}
		}
	default:
		for _, child := range c.node.Children {
			if child.Name == w || slices.Contains(child.Aliases, w) {
				c.node, c.args = child, 0
				return
			}
		}
		if c.node.DefaultCmd != nil {
			c.node = c.node.DefaultCmd
		}
		c.args++
	}
}

// flags returns the flags that may stand at the cursor.
func (c *completion) flags() (out []*kong.Flag) {
	groups := c.node.AllFlags(true)
	if c.node.DefaultCmd != nil {
		groups = append(groups, c.node.DefaultCmd.Flags)
	}
	for _, g := range groups {
		for _, f := range g {
			if !f.Hidden && !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

// flag returns the flag of a word such as "--from" or "-i", or nil.
func (c *completion) flag(word string) *kong.Flag {
	for _, f := range c.flags() {
		if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
			return f
		}
	}
	return nil
}

// candidates returns the words that may stand at the cursor, where a part of one is given.
func (c *completion) candidates(part string) (list []candidate, files bool) {
	switch {
	case c.pending != nil:
		return c.values(c.pending)
	case strings.HasPrefix(part, "-") && !c.noFlags:
		for _, f := range c.flags() {
			list = append(list, candidate{"--" + f.Name, f.Help})
		}
		return list, false
	}
	if c.args == 0 {
		for _, child := range c.node.Children {
			if !child.Hidden && child.Type == kong.CommandNode {
				list = append(list, candidate{child.Name, child.Help})
			}
		}
	}
	if len(list) > 0 || len(c.node.Positional) == 0 {
		return list, false
	}
	arg := c.node.Positional[min(c.args, len(c.node.Positional)-1)]
	if c.args >= len(c.node.Positional) && !arg.IsCumulative() {
		return nil, false
	}
	return c.values(arg)
}

// values returns the values of a flag or argument. Its enum or its tag "complete" names
// them, and a placeholder such as FILE means files.
func (c *completion) values(v *kong.Value) (list []candidate, files bool) {
	if kind := v.Tag.Get("complete"); kind != "" {
		return c.named(kind), false
	}
	if v.Enum != "" {
		for _, word := range v.EnumSlice() {
			list = append(list, candidate{word, ""})
		}
		return list, false
	}
	switch v.Tag.PlaceHolder {
	case "FILE", "DIR", "OUT":
		return nil, true
	}
	return nil, false
}

// completeWait is the timeout for asking a lab or node for names.
const completeWait = time.Second

// named returns the names of a kind. Most are those of a running lab or node. When none
// responds, there are no candidates.
func (c *completion) named(kind string) (list []candidate) {
	ctx, cancel := context.WithTimeout(c.ctx, completeWait)
	defer cancel()
	get := func(path string, out any) { _ = api.Call(ctx, "GET", c.api, path, url.Values{}, out, "") } // without a response out stays empty
	add := func(word, help string) {
		if !slices.ContainsFunc(list, func(x candidate) bool { return x.word == word }) {
			list = append(list, candidate{word, help})
		}
	}
	switch kind {
	case "type":
		for _, t := range []string{"A", "AAAA", "CNAME", "MX", "NS", "TXT", "SOA", "SRV", "CAA", "PTR"} {
			add(t, "")
		}
	case "vantage":
		var vantages []lab.VantageInfo
		get("/api/lab/vantages", &vantages)
		for _, v := range vantages {
			add(v.Name, v.Place)
		}
	case "edge", "provider", "host":
		var s node.Status
		get("/api/status", &s)
		for _, r := range s.Replicas {
			switch {
			case kind != "provider":
				add(string(r.Name), r.Place)
			case r.Provider != "":
				add(r.Provider, "")
			}
		}
		if kind != "host" {
			break
		}
		for _, r := range s.Replicas {
			add(string(r.PoP), "all edges of the PoP")
		}
		var doors []lab.DoorInfo
		get("/api/lab/doors", &doors)
		for _, d := range doors {
			if d.Kind == "authoritative" {
				add(d.To, "name server")
			}
		}
	case "node":
		var nodes []lab.FunctionNode
		get("/api/lab/functions", &nodes)
		for _, n := range nodes {
			add(n.Name, n.Placement)
		}
	case "function":
		if l, err := (mobility.Client{Base: "http://" + c.api}).List(ctx); err == nil {
			for _, f := range l.Desired {
				add(string(f.Service)+f.Path, fmt.Sprintf("version %d", f.Version))
			}
		}
	}
	return list
}
