package config

import (
	"errors"
	"os"
	"path/filepath"

	"perto"
)

// Load reads a configuration and the files that it names. Relative paths in it start at
// its folder.
func Load(path string, place PlaceResolver) (*Config, error) {
	return load(path, place, func(name string) ([]byte, error) { return os.ReadFile(besides(path, name)) })
}

// LoadOutline is like [Load], but reads no zone files and modules, and resolves no
// places: all of them are zero. It is for programs that need a node's sockets, roles or
// paths only.
func LoadOutline(path string) (*Config, error) {
	return load(path, func(string) (perto.Place, error) { return perto.Place{}, nil }, nil)
}

func load(path string, place PlaceResolver, readFile func(string) ([]byte, error)) (*Config, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, &perto.Error{Op: "read configuration", Path: path, Kind: perto.KindInvalid, Err: unwrapPath(err),
			Hint: "perto init writes one"}
	}
	cfg, err := Parse(src, path, place, readFile)
	if err != nil {
		return nil, err
	}
	paths := []*string{&cfg.World.Geodata.Database}
	for i := range cfg.Nodes {
		paths = append(paths, &cfg.Nodes[i].KeyFile, &cfg.Nodes[i].TokenFile, &cfg.Nodes[i].Data)
	}
	for _, p := range paths {
		if *p != "" {
			*p = besides(path, *p)
		}
	}
	return cfg, nil
}

// besides returns the path of a file that a configuration names. Relative paths start
// at the folder of the configuration.
func besides(configuration, name string) string {
	dir := filepath.Dir(configuration)
	if filepath.IsAbs(name) || dir == "." {
		return name
	}
	return filepath.Join(dir, name)
}

func unwrapPath(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}
