package main

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"testing"

	"perto/config"
)

func TestMemoryLimitFromFileOrGroup(t *testing.T) {
	const gib = 1 << 30
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	edge := config.Local{Roles: config.RoleEdge, CacheBytes: gib / 4}
	for _, tt := range []struct {
		name   string
		memory uint64
		cache  uint64
		group  uint64
		err    error
		want   int64
		warns  bool
	}{
		{"key", gib, gib / 4, 2 * gib, nil, gib/10*9 - gib/16, false},
		{"control group", 0, gib / 4, 2 * gib, nil, 2*gib/10*9 - gib/16, false},
		{"no limit", 0, gib / 4, 0, nil, math.MaxInt64, false},
		{"no control group", 0, gib / 4, 0, errors.New("none"), math.MaxInt64, false},
		{"large cache", gib, gib, 0, nil, gib/10*9 - gib/4, true},
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		edge.Memory, edge.CacheBytes = tt.memory, tt.cache
		var log bytes.Buffer
		limitMemory(&edge, func() (uint64, error) { return tt.group, tt.err }, slog.New(slog.NewTextHandler(&log, nil)))
		if got := debug.SetMemoryLimit(-1); got != tt.want {
			t.Errorf("%s: limit %d, want %d", tt.name, got, tt.want)
		}
		if warns := strings.Contains(log.String(), "level=WARN"); warns != tt.warns {
			t.Errorf("%s: warning %v, want %v", tt.name, warns, tt.warns)
		}
	}
	t.Setenv("GOMEMLIMIT", "5GiB")
	debug.SetMemoryLimit(math.MaxInt64)
	limitMemory(&edge, fromCgroup, slog.New(slog.DiscardHandler))
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("with GOMEMLIMIT in the environment the limit became %d", got)
	}
}
