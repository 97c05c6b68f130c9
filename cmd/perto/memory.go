package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"perto/config"
)

// limitMemory sets Go's memory limit, at which garbage is collected earlier: from the
// node's key memory, else from the process's control group. Without a limit, memory may
// grow to twice the live data, and the kernel kills the process at the group's limit. The
// environment variable GOMEMLIMIT has precedence.
func limitMemory(local *config.Local, cgroup func() (uint64, error), logger *slog.Logger) {
	if _, ok := os.LookupEnv("GOMEMLIMIT"); ok {
		return
	}
	total, from := local.Memory, "the key memory"
	if total == 0 {
		var err error
		if total, err = cgroup(); err != nil || total == 0 {
			return // no control group, or no limit in it
		}
		from = "the control group"
	}
	limit := goLimit(total, local)
	debug.SetMemoryLimit(int64(limit))
	logger.Info("memory limit set", "limit_bytes", limit, "of_bytes", total, "from", from)
	if local.Roles.Has(config.RoleEdge) && local.CacheBytes > limit/2 {
		logger.Warn("the cache takes more than half of the memory, so garbage is collected often",
			"cache_bytes", local.CacheBytes, "limit_bytes", limit, "hint", "lower cache, or raise memory")
	}
}

// goLimit returns the part of total for Go: nine tenths, less the memory files with second
// copies of hot responses (a quarter of the cache), which Go does not count.
func goLimit(total uint64, local *config.Local) uint64 {
	limit := total / 10 * 9
	if files := local.CacheBytes / 4; local.Roles.Has(config.RoleEdge) && files < limit/2 {
		limit -= files
	}
	return limit
}

// fromCgroup returns the memory limit of the process's control group in bytes.
func fromCgroup() (uint64, error) { return memlimit.FromCgroup() }
