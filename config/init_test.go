package config

import (
	"strings"
	"testing"
)

func TestCheckDomain(t *testing.T) {
	for _, good := range []string{"cdn.example", "CDN.example.", "*.cdn.example", "_dmarc.cdn.example", "xn--bcher-kva.example", "localhost"} {
		if err := CheckDomain(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, want := range map[string]string{"": "no domain name", "../evil": "no domain name", "a b.example": "no domain name", "a..example": "no domain name",
		"bücher.example": "begins with xn--", "a\x00b.example": "no domain name", strings.Repeat("a", 64) + ".example": "no domain name"} {
		if err := CheckDomain(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}
