package lab

import (
	"strings"
	"testing"
)

func TestVantageOffersSimilarNames(t *testing.T) {
	l := sharedLab(t)
	for name, want := range map[string]string{
		"tokio":     "did you mean tokyo?",
		"tok":       "did you mean tokyo?",
		"Tokyo":     "did you mean tokyo?",
		"hanoi":     "did you mean hanoi-public or hanoi-ecs?",
		"São Paulo": "did you mean sao-paulo?",
		"jakarta-o": "did you mean jakarta-office?",
		"osaka":     "the vantage nearest to Osaka, JP is tokyo, 39",
		"xyzzy":     "\n  Asia: mumbai, delhi, singapore",
		"":          "\n  South America: sao-paulo, rio",
	} {
		v, err := l.Vantage(name)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want %q", name, v, err, want)
		}
	}
}
