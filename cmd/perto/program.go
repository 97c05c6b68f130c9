package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// program returns the command with which the user can run this program again. It is used
// in texts that propose commands.
func program() string {
	executable, err := os.Executable()
	if err != nil {
		return "perto"
	}
	inPath, _ := exec.LookPath("perto")
	dir, _ := os.Getwd()
	return programOf(executable, os.Args[0], inPath, dir)
}

// programOf returns the command for an executable that was invoked as arg0 in dir. inPath is
// the perto that a shell finds, or "".
func programOf(executable, arg0, inPath, dir string) string {
	if fromGoRun(executable) {
		switch {
		case isFile(filepath.Join(dir, "cmd", "perto", "main.go")):
			return "go run ./cmd/perto"
		case filepath.Base(dir) == "perto" && isFile(filepath.Join(dir, "main.go")):
			return "go run ."
		}
		return "go run perto/cmd/perto"
	}
	if sameFile(inPath, executable) {
		return "perto"
	}
	if strings.ContainsAny(arg0, " '\"\\$&;()") {
		return "'" + strings.ReplaceAll(arg0, "'", `'\''`) + "'"
	}
	return arg0
}

// goRunFolders match the folders of executables that "go run" built. A first run uses a
// temporary folder such as /tmp/go-build123/b001/exe. A later run uses the build cache, in
// a folder named by a hash of 64 digits and "-d".
var goRunFolders = regexp.MustCompile(`/go-build[0-9]+/|/[0-9a-f]{64}-d/[^/]*$`)

// fromGoRun reports whether "go run" built an executable.
func fromGoRun(executable string) bool {
	return goRunFolders.MatchString(filepath.ToSlash(executable))
}

func isFile(name string) bool {
	s, err := os.Stat(name)
	return err == nil && s.Mode().IsRegular()
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
