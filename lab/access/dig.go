package access

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"perto"
)

// DigReply is the response of a client's resolver.
type DigReply struct {
	From     string  `json:"from"`
	Resolver string  `json:"resolver"`
	TookMs   float64 `json:"took_ms"`
	Status   string  `json:"status"`
	Answer   []RR    `json:"answer"`
	Text     string  `json:"text"` // the message in the format of dig
}

// RR is one record.
type RR struct {
	Name string `json:"name"`
	TTL  uint32 `json:"ttl"`
	Type string `json:"type"`
	Data string `json:"data"`
}

// Dig asks the client's resolver for records of a name. qtype is the name of the record
// type, and "" means A.
func (c *Client) Dig(ctx context.Context, name, qtype string) (*DigReply, error) {
	if qtype == "" {
		qtype = "A"
	}
	t, ok := dns.StringToType[strings.ToUpper(qtype)]
	if _, valid := dns.IsDomainName(name); !ok || !valid || name == "" {
		return nil, &perto.Error{Op: "dig", Path: name, Kind: perto.KindInvalid, Err: fmt.Errorf("needs a domain name and a record type, got %q", qtype)}
	}
	reply, err := c.Ask(ctx, name, t)
	if err != nil {
		return nil, &perto.Error{Op: "dig from", Path: c.Station.Name, Kind: perto.KindUnavailable, Err: err}
	}
	out := &DigReply{From: c.Station.Name, Resolver: c.Resolver.String(), TookMs: float64(reply.Took.Microseconds()) / 1000,
		Status: dns.RcodeToString[reply.Message.Rcode], Text: reply.Message.String(), Answer: []RR{}}
	for _, rr := range reply.Message.Answer {
		h := rr.Header()
		out.Answer = append(out.Answer, RR{h.Name, h.Ttl, dns.TypeToString[h.Rrtype], Data(rr)})
	}
	return out, nil
}
