package lab

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	gvisorlog "gvisor.dev/gvisor/pkg/log"
)

// stackLog passes the log lines of gVisor to a logger, as debug messages. gVisor would write
// them to the terminal. Its log is global, so the lab that starts last receives the lines.
type stackLog struct{ to *slog.Logger }

// Emit logs one line.
func (l stackLog) Emit(_ int, level gvisorlog.Level, _ time.Time, format string, args ...any) {
	if l.to.Enabled(context.Background(), slog.LevelDebug) {
		l.to.Debug(strings.TrimSpace(fmt.Sprintf(format, args...)), "from", "gVisor", "gvisor_level", level.String())
	}
}

// logStacks makes the logger receive the log lines of the hosts' IP stacks.
func logStacks(to *slog.Logger) { gvisorlog.SetTarget(stackLog{to}) }
