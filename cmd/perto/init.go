package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"perto"
	"perto/config"
	"perto/internal/api"
	"perto/mobility"
	"perto/node"
	"perto/replicas"
)

type initCmd struct {
	Domain  string   `help:"The zone that is delegated to your machines." placeholder:"cdn.example"`
	Service string   `help:"The name that clients use (default: www.DOMAIN)." placeholder:"NAME"`
	Alias   []string `help:"Names that you CNAME to the service." placeholder:"NAME"`
	Origin  string   `help:"The origin server of the content." placeholder:"https://origin.example"`
	Machine []string `sep:"none" help:"A machine: NAME=PLACE=ADDRESS[,ADDRESS]. Repeat the flag for each machine." placeholder:"gru-1=São Paulo=203.0.113.10"`
	Out     string   `short:"o" default:"." help:"Folder to write to. It is made if it does not exist." placeholder:"DIR"`
	Add     []string `sep:"none" help:"Add a machine, in the form of --machine, as an edge to the configuration of -c." placeholder:"gru-2=São Paulo=203.0.113.11"`
	Config  string   `short:"c" help:"The configuration for --add. Its comments stay." placeholder:"FILE"`
}

// Run writes a configuration, its zone file and a key. It asks for values that the flags
// do not have.
func (c *initCmd) Run(e *env) error {
	place, err := places()
	if err != nil {
		return err
	}
	if len(c.Add) > 0 || c.Config != "" {
		return c.add(e, place)
	}
	if err := c.ask(e, place); err != nil {
		return err
	}
	o := config.InitOptions{Domain: perto.CanonicalName(c.Domain), Service: c.Service, Aliases: c.Alias, Origin: c.Origin, KeyFile: "cluster.key", Data: "/var/lib/perto"}
	if o.Service == "" {
		o.Service = "www." + o.Domain
	}
	for i, name := range append([]string{o.Domain, o.Service}, o.Aliases...) {
		if err := config.CheckDomain(name); err != nil {
			return &perto.Error{Op: "read", Path: []string{"--domain", "--service", "--alias"}[min(i, 2)], Kind: perto.KindInvalid, Err: err}
		}
	}
	if o.Machines, err = machines(c.Machine, place, nil); err != nil {
		return err
	}
	files := []struct {
		name string
		data []byte
		mode os.FileMode
	}{
		{o.Domain + ".hcl", config.Init(o), 0o644},
		{o.ZoneFile(), config.InitZone(o, uint32(time.Now().Unix())), 0o644},
		{o.KeyFile, []byte(replicas.NewKey().File()), 0o600},
	}
	for _, f := range files { // overwrite nothing: check all before writing any
		if _, err := os.Lstat(filepath.Join(c.Out, f.name)); err == nil {
			return &perto.Error{Op: "write", Path: filepath.Join(c.Out, f.name), Kind: perto.KindConflict, Err: fmt.Errorf("the file exists"), Hint: "choose another folder with --out"}
		}
	}
	if _, err := config.Parse(files[0].data, files[0].name, place, nil); err != nil {
		return err // a mistake in a flag; nothing is written
	}
	var wrote []string
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return &perto.Error{Op: "make", Path: c.Out, Kind: perto.KindUnavailable, Err: err}
	}
	for _, f := range files {
		path := filepath.Join(c.Out, f.name)
		if err := os.WriteFile(path, f.data, f.mode); err != nil {
			return &perto.Error{Op: "write", Path: path, Kind: perto.KindUnavailable, Err: err}
		}
		wrote = append(wrote, path)
	}
	conf := filepath.Join(c.Out, files[0].name)
	cfg, _, err := check(conf)
	if err != nil {
		return err
	}
	result := wroteFiles{wrote, ports(cfg)}
	return e.print(result, func(w io.Writer) {
		printWarnings(e, node.Warnings(cfg))
		for _, path := range wrote {
			fmt.Fprintln(w, "wrote", path)
		}
		fmt.Fprintf(w, "\nNext: copy the three files to every machine, run there\n  perto run -c %s --node NAME\nand let %s's parent zone delegate to %s.\n", files[0].name, o.Domain, strings.Join(o.NameServers(), " and "))
		printPorts(w, result.Ports)
	})
}

// wroteFiles is the result of init.
type wroteFiles struct {
	Wrote []string   `json:"wrote"`
	Ports []openPort `json:"ports"` // that firewalls must let pass
}

// addedMachines is the result of init --add.
type addedMachines struct {
	Added []string   `json:"added"`
	Ports []openPort `json:"ports"`
}

// samePlaceKm is the distance up to which two places may be those of one PoP. A city and
// the coordinates of a building in it differ.
const samePlaceKm = 100

// machines reads machines in the form of the flags. pops are the PoPs that exist. Machines
// of one PoP must be at one place.
func machines(flags []string, place config.PlaceResolver, pops []config.PoP) (out []config.Machine, err error) {
	places := make(map[string]perto.Place)
	for _, p := range pops {
		places[string(p.Name)] = p.Place
	}
	for _, text := range flags {
		m, err := config.ParseMachine(text)
		if err != nil {
			return nil, err
		}
		p, err := place(m.Place)
		if err != nil {
			return nil, err
		}
		if at, ok := places[m.PoP()]; ok && at.DistanceKm(p) > samePlaceKm {
			return nil, &perto.Error{Op: "read machine", Path: text, Kind: perto.KindInvalid, Err: fmt.Errorf("its PoP %s is in %s", m.PoP(), at),
				Hint: "the part of a name before the last hyphen is the PoP; choose another one for another city, for example nrt-1"}
		}
		places[m.PoP()] = p
		m.Place = p.String()
		out = append(out, m)
	}
	return out, nil
}

// add adds machines to an existing configuration.
func (c *initCmd) add(e *env, place config.PlaceResolver) error {
	if len(c.Add) == 0 || c.Config == "" {
		return &perto.Error{Op: "add machines", Kind: perto.KindInvalid, Err: errors.New("--add and -c FILE belong together")}
	}
	old, _, err := check(c.Config)
	if err != nil {
		return err
	}
	added, err := machines(c.Add, place, old.World.PoPs)
	if err != nil {
		return err
	}
	src, err := os.ReadFile(c.Config)
	if err != nil {
		return err
	}
	for _, m := range added {
		if src, err = config.AddMachine(src, c.Config, m); err != nil {
			return err
		}
	}
	cfg, err := config.Parse(src, c.Config, place, nil)
	if err != nil {
		return err // for example an address that another machine has; nothing is written
	}
	if err := writeFile(c.Config, src); err != nil {
		return err
	}
	result := addedMachines{Ports: ports(cfg)}
	for _, m := range added {
		result.Added = append(result.Added, m.Name)
	}
	return e.print(result, func(w io.Writer) {
		printWarnings(e, node.Warnings(cfg))
		fmt.Fprintf(w, "%s has %s.\n\nNext: copy it to every machine, run on the new one\n  perto run -c %s --node NAME\nand send SIGHUP to perto on the others.\n",
			c.Config, strings.Join(result.Added, ", "), filepath.Base(c.Config))
		printPorts(w, result.Ports)
	})
}

type keyCmd struct {
	New keyNewCmd `cmd:"" help:"Print a new key for heartbeats or for signing functions, or a token for the API."`
}

type keyNewCmd struct {
	Out  string `short:"o" help:"Write the key to a file that only its owner can read (default: print it)." placeholder:"FILE"`
	Keep bool   `help:"Keep a file that already exists."`
	Sign string `help:"Make a key for signing functions, with this name." placeholder:"NAME"`

	Token bool `help:"Make a token for the key api_token."`
}

// Run prints a key, or writes it to a new file.
func (c *keyNewCmd) Run(e *env) error {
	key, public, err := c.make()
	if err != nil {
		return err
	}
	if c.Out == "" {
		return e.print(map[string]string{"key": strings.TrimSpace(key), "public": public}, func(w io.Writer) {
			fmt.Fprint(w, key)
			c.printTrust(e, public)
		})
	}
	f, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, os.ErrExist) && c.Keep:
		return c.kept(e)
	case errors.Is(err, os.ErrExist):
		return &perto.Error{Op: "write", Path: c.Out, Kind: perto.KindConflict, Err: errors.New("the file exists"), Hint: "--keep keeps it"}
	case err != nil:
		return &perto.Error{Op: "write", Path: c.Out, Kind: perto.KindUnavailable, Err: err}
	}
	_, err = f.WriteString(key)
	if err = errors.Join(err, f.Close()); err == nil {
		c.printTrust(e, public)
	}
	return err
}

// kept checks that the existing file has a key.
func (c *keyNewCmd) kept(e *env) error {
	if c.Token {
		_, err := api.ReadToken(c.Out)
		return err
	}
	if c.Sign == "" {
		_, err := replicas.LoadKeys(c.Out)
		return err
	}
	key, err := mobility.LoadSigningKey(c.Out)
	if err == nil {
		c.printTrust(e, key.Public().String())
	}
	return err
}

// printTrust prints the configuration that trusts a signing key.
func (c *keyNewCmd) printTrust(e *env, public string) {
	if public != "" {
		fmt.Fprintf(e.err, "Nodes accept releases signed with this key when their configuration has:\n  functions { trust = [%q] }\n", public)
	}
}

// make returns the line of a new key's file and its public key.
func (c *keyNewCmd) make() (line, public string, err error) {
	switch {
	case c.Token && c.Sign != "":
		return "", "", &perto.Error{Op: "make key", Kind: perto.KindInvalid, Err: errors.New("--token and --sign exclude each other")}
	case c.Token:
		return rand.Text() + rand.Text() + "\n", "", nil
	case c.Sign == "":
		return replicas.NewKey().File(), "", nil
	}
	key, err := mobility.NewSigningKey(c.Sign)
	if err != nil {
		return "", "", err
	}
	return key.File(), key.Public().String(), nil
}
