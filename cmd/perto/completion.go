package main

import (
	_ "embed"
	"io"
)

// The scripts only pass words to "perto __complete" and its candidates to the shell.
var (
	//go:embed completion/perto.bash
	bashCompletion string
	//go:embed completion/perto.zsh
	zshCompletion string
	//go:embed completion/perto.fish
	fishCompletion string
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: ${enum}." placeholder:"SHELL"`
}

// Help tells how to load the script.
func (c *completionCmd) Help() string {
	return `bash: add to ~/.bashrc:              source <(perto completion bash)
zsh:  add to ~/.zshrc, after compinit: source <(perto completion zsh)
fish: run once:                        perto completion fish > ~/.config/fish/completions/perto.fish

Names of vantages, edges and functions are those of the running lab or node (PERTO_API, --api).`
}

// Run prints the script of a shell.
func (c *completionCmd) Run(e *env) error {
	script := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Shell]
	_, err := io.WriteString(e.out, script)
	return err
}
