package perto

import (
	"math"
	"testing"
	"time"
)

func TestPlaceDistanceKm(t *testing.T) {
	saoPaulo := Place{Name: "São Paulo", Region: "SP", Country: "BR", Lat: -23.5475, Lon: -46.6361}
	frankfurt := Place{Name: "Frankfurt am Main", Country: "DE", Lat: 50.1155, Lon: 8.6842}
	north, south := Place{Lat: 90}, Place{Lat: -90, Lon: 77}
	tests := []struct {
		name   string
		a, b   Place
		wantKm float64
	}{
		{"same place", saoPaulo, saoPaulo, 0},
		{"São Paulo to Frankfurt", saoPaulo, frankfurt, 9794},
		{"pole to pole is half the circumference", north, south, math.Pi * EarthRadiusKm},
		{"across the date line", Place{Lon: 179.5}, Place{Lon: -179.5}, 111.2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.a.DistanceKm(tt.b); math.Abs(got-tt.wantKm) > 0.005*tt.wantKm+0.1 {
				t.Errorf("got %.1f km, want %.1f", got, tt.wantKm)
			}
			if ab, ba := tt.a.DistanceKm(tt.b), tt.b.DistanceKm(tt.a); math.Abs(ab-ba) > 1e-9 {
				t.Errorf("not symmetric: %v and %v", ab, ba)
			}
		})
	}
}

func TestPlaceString(t *testing.T) {
	tests := []struct {
		place Place
		want  string
	}{
		{Place{Name: "São Paulo", Region: "SP", Country: "BR"}, "São Paulo, SP, BR"},
		{Place{Name: "Singapore", Country: "SG"}, "Singapore, SG"},
		{Place{Name: "Tokyo", Region: "13", Country: "JP"}, "Tokyo, JP"},
		{Place{Lat: -23.5475, Lon: -46.6361}, "-23.5475,-46.6361"},
	}
	for _, tt := range tests {
		if got := tt.place.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestPriorRTT(t *testing.T) {
	if got := PriorRTT(0); got != 4*time.Millisecond {
		t.Errorf("no distance: got %v, want 4ms", got)
	}
	if got := PriorRTT(1000); got != 20*time.Millisecond {
		t.Errorf("1000 km: got %v, want 20ms", got)
	}
}
