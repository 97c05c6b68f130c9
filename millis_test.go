package perto

import (
	"encoding/json"
	"testing"
	"time"
)

func TestMillisIsANumberInJSON(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0", 1: "0.000001", 1500 * time.Microsecond: "1.5", -2 * time.Second: "-2000", 24 * time.Hour: "86400000"} {
		got, err := json.Marshal(Millis(d))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", d, got, err, want)
		}
		var back Millis
		if err := json.Unmarshal(got, &back); err != nil || back.Duration() != d {
			t.Errorf("%s: read %s, %v from %s", d, back, err, got)
		}
	}
	for _, text := range []string{`"5"`, `1e300`, `-1e300`, `true`, `{}`} {
		if m := Millis(7); json.Unmarshal([]byte(text), &m) == nil || m != 7 {
			t.Errorf("read %s from %s, want an error", m, text)
		}
	}
	if m := Millis(7); json.Unmarshal([]byte(`null`), &m) != nil || m != 7 {
		t.Errorf("null changed the value to %s", m)
	}
}
