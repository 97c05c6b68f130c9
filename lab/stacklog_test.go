package lab

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	gvisorlog "gvisor.dev/gvisor/pkg/log"
)

// TestStackLogStaysOffTheTerminal: Up replaces gVisor's writer to stderr. A line goes to the
// logger as a debug message.
func TestStackLogStaysOffTheTerminal(t *testing.T) {
	sharedLab(t) // Up has taken the log
	if _, ok := gvisorlog.Log().Emitter.(stackLog); !ok {
		t.Errorf("gVisor logs to %T", gvisorlog.Log().Emitter)
	}
	for level, want := range map[slog.Level]string{slog.LevelDebug: `level=DEBUG msg="a line of the stack" from=gVisor gvisor_level=Warning`, slog.LevelInfo: ""} {
		var b bytes.Buffer
		stackLog{slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level}))}.Emit(0, gvisorlog.Warning, time.Now(), "a line of %s\n", "the stack")
		if !strings.Contains(b.String(), want) || want == "" && b.Len() > 0 {
			t.Errorf("at level %s: got %q, want %q", level, b.String(), want)
		}
	}
}
