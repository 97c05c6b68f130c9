package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"perto"
)

// AddMachine adds a machine to the source of a configuration: a node block, which takes
// data and key from the first node block, and an edge block in its PoP, which is made if
// it is new. The machine is an edge. All other text stays, with its comments.
func AddMachine(src []byte, filename string, m Machine) ([]byte, error) {
	fail := func(kind perto.Kind, format string, args ...any) ([]byte, error) {
		return nil, &perto.Error{Op: "add a machine to", Path: filename, Kind: kind, Err: fmt.Errorf(format, args...)}
	}
	if strings.HasSuffix(filename, ".json") {
		return fail(perto.KindInvalid, "only files in HCL's own syntax can be edited")
	}
	file, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	if diags.HasErrors() {
		return fail(perto.KindInvalid, "%s", diags.Error())
	}
	var lastNode, lastPoP, pop *hclsyntax.Block
	w := newShower()
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		name := strings.Join(b.Labels, " ")
		switch b.Type {
		case "node":
			if name == m.Name {
				return fail(perto.KindConflict, "it has a node %s, in line %d", name, b.TypeRange.Start.Line)
			}
			lastNode = b
		case "pop":
			if name == m.PoP() {
				pop = b
			}
			lastPoP = b
		}
	}
	if lastNode == nil || lastPoP == nil {
		return fail(perto.KindInvalid, "it has no node and PoP to follow; perto init writes a configuration")
	}
	data, key, err := sharedPaths(file.Body.(*hclsyntax.Body))
	if err != nil {
		return fail(perto.KindInvalid, "%v", err)
	}
	var edits []insertion
	w.block("node", m.Name, func() {
		list(w, "roles", RoleEdge.Names())
		if data != "" {
			w.text("data", data)
		}
		if key != "" {
			w.text("key", key)
		}
	})
	edits = append(edits, insertion{endOf(lastNode), "\n\n" + w.take()})
	edge := func() { w.block("edge", m.Name, func() { list(w, "addresses", m.Addresses) }) }
	if pop != nil {
		edge()
		edits = append(edits, insertion{pop.CloseBraceRange.Start.Byte, "  " + strings.ReplaceAll(w.take(), "\n", "\n  ") + "\n"})
	} else {
		w.block("pop", m.PoP(), func() {
			w.text("place", m.Place)
			edge()
		})
		edits = append(edits, insertion{endOf(lastPoP), "\n\n" + w.take()})
	}
	return insert(src, edits), nil
}

// sharedPaths returns the keys data and key of the first node block.
func sharedPaths(body *hclsyntax.Body) (data, key string, err error) {
	i := slices.IndexFunc(body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == "node" })
	for name, a := range body.Blocks[i].Body.Attributes {
		if name != "data" && name != "key" {
			continue
		}
		v, diags := a.Expr.Value(nil)
		if diags.HasErrors() {
			return "", "", errors.New(diags.Error())
		}
		if name == "data" {
			data = v.AsString()
		} else {
			key = v.AsString()
		}
	}
	return data, key, nil
}

// take returns the blocks written so far, formatted and without the final line end, and
// starts again.
func (w *shower) take() string {
	text := strings.TrimSpace(string(Format(w.file.Bytes())))
	*w = *newShower()
	return text
}

// insertion is text to insert at an offset.
type insertion struct {
	at   int
	text string
}

func endOf(b *hclsyntax.Block) int { return b.CloseBraceRange.End.Byte }

func insert(src []byte, edits []insertion) []byte {
	slices.SortStableFunc(edits, func(a, b insertion) int { return a.at - b.at })
	var out []byte
	from := 0
	for _, e := range edits {
		out = append(append(out, src[from:e.at]...), e.text...)
		from = e.at
	}
	return append(out, src[from:]...)
}
