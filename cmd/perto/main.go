// Command perto runs and operates a CDN on your own machines, and a laboratory that
// demonstrates it. See the README for a first tour and "perto --help" for the commands.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"perto"
	"perto/config"
	"perto/geodata"
	"perto/internal/printable"
)

// cli is the command tree.
type cli struct {
	API  apiAddress `help:"Address of the running lab's or node's API; unix:PATH for a socket." default:"127.0.0.1:8080" env:"PERTO_API" placeholder:"HOST:PORT"`
	JSON bool       `help:"Print results as JSON."`

	TokenFile string `help:"File with the token of the API, if it needs one (default: that of the configuration)." env:"PERTO_TOKEN_FILE" placeholder:"FILE"`

	Lab     labCmd     `cmd:"" help:"Run an Internet in one process, inspect it and break parts of it."`
	Dig     digCmd     `cmd:"" help:"Query a name as a client in a city of the lab."`
	Explain explainCmd `cmd:"" help:"Explain the answer for a name, or the handling of a URL."`
	Status  statusCmd  `cmd:"" help:"Show the status of a node or lab."`
	Drain   drainCmd   `cmd:"" help:"Remove an edge, or a provider's edges, from the answers."`
	Undrain undrainCmd `cmd:"" help:"Revert drain: heartbeats and probes decide about an edge again."`
	Purge   purgeCmd   `cmd:"" help:"Remove stored responses: of a URL, with a tag, or all."`
	Run     runCmd     `cmd:"" help:"Run a node."`
	Init    initCmd    `cmd:"" help:"Write a configuration for your machines."`
	Plan    planCmd    `cmd:"" help:"Find the cities where new machines save users most time."`
	Key     keyCmd     `cmd:"" help:"Make keys."`
	Health  healthCmd  `cmd:"" help:"Check the health of the node or lab on this machine."`
	Config  configCmd  `cmd:"" help:"Check or format a configuration."`
	Zone    zoneCmd    `cmd:"" help:"Check zone files."`
	Fn      fnCmd      `cmd:"" help:"Write, push and inspect functions: code that edges run."`
	Geodata geodataCmd `cmd:"" help:"Look up places of addresses, build or export a map."`

	Completion completionCmd `cmd:"" help:"Print a script that completes commands, flags and names in bash, zsh or fish."`
	Version    versionCmd    `cmd:"" help:"Print the version of this program, with its commit and its version of Go."`

	VersionFlag kong.VersionFlag `name:"version" help:"Print the version."`
}

// env is the environment of a command.
type env struct {
	ctx    context.Context
	in     io.Reader // answers to questions
	out    io.Writer // escapes control sequences (package printable)
	err    io.Writer // the same
	raw    io.Writer // out without escaping, for bodies and for a child
	rawErr io.Writer // err without escaping, for a child
	api    string    // address of the API; see resolve
	asJSON bool

	apiGiven  bool   // by --api or PERTO_API
	config    string // configuration that has address and token of the API, or ""
	node      string
	tokenFile string
	token     string
	resolved  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// exitUsage is the exit code for wrong usage (docs/errors.md).
const exitUsage = 2

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	raw, rawErr := stdout, stderr
	out, diagnostics := printable.NewWriter(stdout), printable.NewWriter(stderr)
	defer out.Flush()
	defer diagnostics.Flush()
	stdout, stderr = out, diagnostics
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("perto"),
		kong.Description("A CDN that you own: geo-aware DNS, edge cache, and a laboratory on your laptop."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.UsageOnError(),
		kong.Vars{"version": readBuildInfo().String()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintln(stderr, "perto:", err)
		return 1
	}
	if len(args) > 0 && args[0] == completeCommand {
		complete(ctx, stdout, parser.Model, args[1:])
		return 0
	}
	k, err := parser.Parse(args)
	if exited >= 0 { // --help or --version
		return exited
	}
	if err != nil {
		return failUsage(stderr, err)
	}
	e := &env{ctx: ctx, in: os.Stdin, out: stdout, err: stderr, raw: raw, rawErr: rawErr, api: string(c.API), asJSON: c.JSON,
		apiGiven: string(c.API) != config.DefaultAPI, config: os.Getenv("PERTO_CONFIG"), node: os.Getenv("PERTO_NODE"), tokenFile: c.TokenFile}
	if err := k.Run(e); err != nil {
		return fail(stderr, err)
	}
	return 0
}

// failUsage prints an error of the command line with the help that explains it, and
// returns the exit code.
func failUsage(stderr io.Writer, err error) int {
	code, hint := exitUsage, program()+" --help lists the commands"
	if e, ok := errors.AsType[*kong.ParseError](err); ok && e.Context != nil && e.Context.Selected() != nil {
		command := strings.TrimPrefix(e.Context.Selected().FullPath(), "perto ")
		hint = program() + " " + command + " --help shows its usage"
		if command == "dig" {
			code = digUsage
		}
	}
	fmt.Fprintf(stderr, "perto: %v (%s)\n", err, hint)
	return code
}

func fail(stderr io.Writer, err error) int {
	if _, ok := errors.AsType[*reportedError](err); !ok {
		fmt.Fprintln(stderr, "perto:", err)
	}
	return exitCode(err)
}

// reportedError is an error that another process shows.
type reportedError struct{ error }

func (e *reportedError) Unwrap() error { return e.error }

// codedError is an error with an exit code of its own.
type codedError interface {
	error
	exitStatus() int
}

// exitCode returns the exit status of a command that ends with an error.
func exitCode(err error) int {
	if e, ok := errors.AsType[codedError](err); ok {
		return e.exitStatus()
	}
	if e, ok := errors.AsType[*perto.Error](err); ok {
		return e.Kind.ExitCode()
	}
	return 1
}

// print writes a result: as JSON with --json, else by text.
func (e *env) print(value any, text func(w io.Writer)) error {
	if e.asJSON {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(value)
	}
	text(e.out)
	return nil
}

// body writes the body of a response. A terminal gets it without control sequences, a
// file or another program gets it unchanged.
func (e *env) body(b []byte) {
	if isTerminal(e.raw) {
		e.out.Write(b)
		return
	}
	e.raw.Write(b)
}

// places returns the resolver of place names.
func places() (config.PlaceResolver, error) {
	cities, err := geodata.LoadCities()
	if err != nil {
		return nil, err
	}
	return cities.FindCity, nil
}
