package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// completed returns the candidates for a command line with the cursor at its end.
func completed(t *testing.T, words ...string) (out []string) {
	t.Helper()
	var b strings.Builder
	if code := run(t.Context(), append([]string{completeCommand}, words...), &b, &b); code != 0 {
		t.Errorf("%q: exit code %d", words, code)
	}
	for line := range strings.Lines(b.String()) {
		word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		out = append(out, word)
	}
	return out
}

func TestCompletionFollowsTheCommands(t *testing.T) {
	t.Setenv("PERTO_API", "127.0.0.1:1") // no lab and no node: no names
	for line, want := range map[string]string{
		"la":                            "lab",
		"--js":                          "--json",
		"lab tra":                       "trace",
		"lab --ori":                     "--origin --origin-host --origin-place",
		"--json lab trace -":            "--help --api --json --token-file --version --from --svg",
		"lab trace --svg ":              ":files",
		"lab trace --fr":                "--from",
		"lab trace --from ":             "",
		"lab compare x --sort fi":       "first-byte",
		"lab compare x --sort=fi":       "--sort=first-byte",
		"lab compare x --sort = fi":     "first-byte",
		"dig www.shop.example aa":       "",
		"dig www.shop.example AA":       "AAAA",
		"dig www.shop.example AAAA ":    "",
		"config check ":                 ":files",
		"run -c ":                       ":files",
		"run --worker --log-format j":   "json",
		"fn push ":                      ":files",
		"fn rem":                        "remove",
		"lab kill ":                     "",
		"lab wan se":                    "serve set",
		"completion ":                   "bash zsh fish",
		"__com":                         "",
		"lab wan join --route x -- sud": "",
		"nonsense ":                     "",
		"--api 127.0.0.1 : 8080 la":     "lab", // bash splits at colons
		"lab --origin http : //x --ca":  "--cache",
		"explain x --client 2001 : db8 :: 1 --ty": "--type",
	} {
		words := strings.Split(line, " ")
		if got := strings.Join(completed(t, words...), " "); got != want {
			t.Errorf("perto %s: got %q, want %q", line, got, want)
		}
	}
}

// shells returns a PATH on which this test's binary is perto, and a command that runs a
// shell with it.
func shells(t *testing.T, api string) func(name string, args ...string) string {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(dir, "perto")); err != nil { // TestMain runs main under this name
		t.Fatal(err)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var script strings.Builder
		if code := run(t.Context(), []string{"completion", shell}, &script, &script); code != 0 {
			t.Fatalf("completion %s: %s", shell, script.String())
		}
		if err := os.WriteFile(filepath.Join(dir, "perto."+shell), []byte(script.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return func(name string, args ...string) string {
		t.Helper()
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%s is not installed", name)
		}
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "PERTO_API="+api, "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s %q: %v: %s", name, args, err, out)
		}
		return string(out)
	}
}

// TestCompletionInShells completes commands, and names of a running lab, in each shell that
// is installed.
func TestCompletionInShells(t *testing.T) {
	_, api := labInProcess(t)
	shell := shells(t, api)
	lines := []struct{ line, want string }{
		{"perto lab tr", "trace"},
		{"perto lab trace --from jak", "jakarta jakarta-office"},
		{"perto lab kill gr", "gru gru-1 gru-2"},
		{"perto lab cut ns", "ns1 ns2"},
		{"perto drain syd", "syd-1"},
		{"perto fn history shop.cdn.example/gree", "shop.cdn.example/greeting"},
		{"perto fn list --to ori", "origin"},
		{"perto config check perto.z", "perto.zsh"},
	}
	check := func(t *testing.T, line, got, want string) {
		t.Helper()
		words := strings.Fields(got)
		slices.Sort(words)
		if strings.Join(words, " ") != want {
			t.Errorf("%s: got %q, want %q", line, words, want)
		}
	}
	t.Run("bash", func(t *testing.T) {
		for _, tt := range lines {
			words := strings.Fields(tt.line)
			script := fmt.Sprintf(`source ./perto.bash; COMP_WORDS=(%s); COMP_CWORD=%d; _perto perto; printf '%%s\n' "${COMPREPLY[@]}"`, tt.line, len(words)-1)
			check(t, tt.line, shell("bash", "-c", script), tt.want)
		}
		check(t, "--from=", shell("bash", "-c", `source ./perto.bash; COMP_WORDS=(perto dig x --from = to); COMP_CWORD=5; _perto perto; printf '%s\n' "${COMPREPLY[@]}"`), "tokyo toronto")
		host, port, _ := strings.Cut(api, ":")
		check(t, "--api", shell("env", "PERTO_API=127.0.0.1:1", "bash", "-c", fmt.Sprintf(`source ./perto.bash; COMP_WORDS=(perto --api %s : %s lab kill sy); COMP_CWORD=7; _perto perto; printf '%%s\n' "${COMPREPLY[@]}"`, host, port)), "syd syd-1")
		check(t, "~/perto", shell("bash", "-c", `source ./perto.bash; COMP_WORDS=('~/perto' lab tr); COMP_CWORD=2; _perto '~/perto'; printf '%s\n' "${COMPREPLY[@]}"`), "trace")
		check(t, "quoting", shell("bash", "-c", `source ./perto.bash; fake() { printf 'a b;$(c)\tx\n'; }; COMP_WORDS=(fake x); COMP_CWORD=1; _perto fake; eval "printf '%s\n' ${COMPREPLY[0]}" | wc -l`), "1")
		if out := shell("bash", "-c", "source ./perto.bash; complete -p perto"); !strings.Contains(out, "-F _perto perto") {
			t.Errorf("bash does not use the function: %s", out)
		}
	})
	t.Run("zsh", func(t *testing.T) {
		shell("zsh", "-n", "perto.zsh")
		// The test replaces the functions of the completion system.
		const stubs = `compdef() { }; _describe() { print -rl -- ${${(P)4}%%:*} }; _files() { print -rl -- ${words[CURRENT]}*(N) }; source ./perto.zsh; `
		for _, tt := range lines {
			check(t, tt.line, shell("zsh", "-f", "-c", fmt.Sprintf(`%s words=(%s); CURRENT=%d; _perto`, stubs, tt.line, len(strings.Fields(tt.line)))), tt.want)
		}
	})
	t.Run("fish", func(t *testing.T) {
		shell("fish", "--no-execute", "perto.fish")
		for _, tt := range lines {
			out := shell("fish", "--no-config", "-c", "source ./perto.fish; complete -C "+fmt.Sprintf("%q", tt.line))
			var words []string
			for line := range strings.Lines(out) {
				word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				words = append(words, word)
			}
			check(t, tt.line, strings.Join(words, " "), tt.want)
		}
	})
}
