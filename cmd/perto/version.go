package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
)

// version is set by the release build.
var version = ""

// buildInfo describes this program.
type buildInfo struct {
	Version    string `json:"version"`               // of the module, or "devel" when the build has none
	Commit     string `json:"commit,omitempty"`      // of the source, when the build has it
	CommitTime string `json:"commit_time,omitempty"` // RFC 3339
	Modified   bool   `json:"modified"`              // the source had changes that are not committed
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

// readBuildInfo returns the information that the Go tool wrote into this program.
func readBuildInfo() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if b.Version == "" {
			b.Version = strings.Trim(info.Main.Version, "()")
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.CommitTime = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

// String returns the lines that --version prints.
func (b buildInfo) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "perto %s\n", b.Version)
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	switch {
	case b.Commit == "":
		fmt.Fprintf(t, "  commit\tunknown: the build has no version control data\n")
	case b.Modified:
		fmt.Fprintf(t, "  commit\t%s of %s, with local changes\n", b.Commit, b.CommitTime)
	default:
		fmt.Fprintf(t, "  commit\t%s of %s\n", b.Commit, b.CommitTime)
	}
	fmt.Fprintf(t, "  Go\t%s\n  platform\t%s", b.Go, b.Platform)
	t.Flush()
	return out.String()
}

type versionCmd struct{}

// Run prints the version of this program.
func (c *versionCmd) Run(e *env) error {
	b := readBuildInfo()
	return e.print(b, func(w io.Writer) { fmt.Fprintln(w, b) })
}
