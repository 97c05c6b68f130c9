package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"perto"
	"perto/internal/printable"
	"perto/lab"
	"perto/lab/access"
)

type digCmd struct {
	Name string `arg:"" help:"Name to query."`
	Type string `arg:"" optional:"" default:"A" help:"Record type." complete:"type"`
	From string `required:"" help:"Vantage that sends the query (perto lab vantages lists them)." placeholder:"CITY" complete:"vantage"`
}

// Help describes the exit codes.
func (c *digCmd) Help() string {
	return `The exit codes are those of dig: 0 for any response, also when the name does not
exist, 1 for wrong usage, 9 for no response from the resolver, and 10 for another failure.`
}

// Exit codes of dig (dig(1), RETURN CODES).
const (
	digUsage    = 1
	digNoReply  = 9
	digInternal = 10
)

// digError is an error of "perto dig" with its exit code.
type digError struct {
	error
	code int
}

func (e *digError) Unwrap() error { return e.error }

// exitStatus returns the exit code of dig.
func (e *digError) exitStatus() int { return e.code }

// digErrorOf gives an error of the API the exit code of dig. An error whose operation is
// "ask" means that no API responded.
func digErrorOf(err error) error {
	code := digInternal
	if f, ok := errors.AsType[*perto.Error](err); ok {
		switch {
		case f.Kind == perto.KindInvalid || f.Kind == perto.KindNotFound:
			code = digUsage
		case f.Kind == perto.KindUnavailable && f.Op != "ask":
			code = digNoReply
		}
	}
	return &digError{err, code}
}

// Run sends the query in the lab.
func (c *digCmd) Run(e *env) error {
	var reply lab.DigReply
	if err := e.get("/api/lab/dig", url.Values{"from": {c.From}, "name": {c.Name}, "type": {c.Type}}, &reply); err != nil {
		return digErrorOf(err)
	}
	return e.print(reply, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, rr := range reply.Answer {
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", printable.Text(rr.Name), rr.TTL, rr.Type, printable.Text(rr.Data))
		}
		t.Flush()
		if reason := emptyReason(&reply, strings.ToUpper(c.Type)); reason != "" {
			fmt.Fprintf(w, ";; %s\n", reason)
		}
		fmt.Fprintf(w, ";; status %s, from %s by resolver %s, %.0f ms\n", reply.Status, reply.From, reply.Resolver, reply.TookMs)
	})
}

// emptyReason explains a response that has no record of the type. It returns "" for others.
func emptyReason(reply *lab.DigReply, qtype string) string {
	switch {
	case reply.Status == "NXDOMAIN":
		return "the answer is empty: the name does not exist"
	case reply.Status != "NOERROR":
		return "the answer is empty: the resolver could not resolve the name"
	case len(reply.Answer) == 0:
		return "the answer is empty: the name exists, but has no record of type " + qtype
	case qtype != "ANY" && !slices.ContainsFunc(reply.Answer, func(rr access.RR) bool { return rr.Type == qtype }):
		return "the name is an alias, and its target has no record of type " + qtype
	}
	return ""
}
