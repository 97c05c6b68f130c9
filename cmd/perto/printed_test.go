package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"perto"
	"perto/config"
	"perto/edge"
	"perto/functions"
	"perto/geodata"
	"perto/internal/api"
	"perto/lab"
	"perto/lab/report"
	"perto/lab/wan"
	"perto/mapping"
	"perto/mobility"
	"perto/node"
)

// printed has the types that commands print with --json, by the function that calls
// print, and those of the API.
var printed = map[string][]any{
	"drain":                {api.DrainResult{}},
	"purgeCmd.Run":         {api.PurgeResult{}},
	"digCmd.Run":           {lab.DigReply{}},
	"statusCmd.Run":        {node.Status{}},
	"explainCmd.Run":       {node.URLExplanation{}, mapping.Explanation{}, edge.Explanation{}},
	"explainCmd.offline":   {mapping.Explanation{}},
	"configCheckCmd.Run":   {checkedConfig{}},
	"configShowCmd.Run":    {shownConfig{}},
	"zoneCheckCmd.Run":     {map[string]int{}},
	"geodataLookupCmd.Run": {located{}},
	"geodataBuildCmd.Run":  {geodata.Report{}},
	"fnInspectCmd.Run":     {functions.About{}},
	"inspectImage":         {aboutImage{}},
	"fnInvokeCmd.once":     {invoked{}},
	"fnNewCmd.Run":         {newProject{}},
	"fnHistoryCmd.Run":     {mobility.Release{}},
	"reportPush":           {pushResult{}},
	"fnListCmd.Run":        {listed{}},
	"fnLogsCmd.Run":        {loggedLine{}},
	"versionCmd.Run":       {buildInfo{}},
	"healthCmd.Run":        {healthResult{}},
	"initCmd.Run":          {wroteFiles{}},
	"initCmd.add":          {addedMachines{}},
	"keyNewCmd.Run":        {map[string]string{}},
	"labVantagesCmd.Run":   {lab.VantageInfo{}},
	"labFetchCmd.Run":      {lab.Fetched{}},
	"labCompareCmd.Run":    {lab.Fetched{}},
	"labTraceCmd.Run":      {lab.Trace{}},
	"labFaultCmd.apply":    {lab.FaultResult{}},
	"planCmd.Run":          {plan{}},
	"labRunCmd.Run":        {report.Moved{}, report.EndUser{}},
	"wanShowCmd.Run":       {wan.State{}},
	"labWANCmd.change":     {wan.Pair{}},
	"API":                  {api.Failure{}, lab.DoorInfo{}, lab.FunctionNode{}, mobility.Function{}, mobility.Signed{}},
}

// shownConfig is a configuration in the form of "config show --json".
type shownConfig struct{ config.Config }

// MarshalJSON makes the value that the command prints.
func (c shownConfig) MarshalJSON() ([]byte, error) { return json.Marshal(configJSON(&c.Config)) }

// TestPrintedJSON fills every printed type and checks its JSON. Keys are snake_case, and a
// duration is a number of milliseconds whose key ends in "_ms". A client reads the same
// value from it.
func TestPrintedJSON(t *testing.T) {
	for caller, values := range printed {
		for _, v := range values {
			full := reflect.New(reflect.TypeOf(v)).Elem()
			fill(full, 0)
			b, err := json.Marshal(full.Interface())
			if err != nil {
				t.Errorf("%s, %T: %v", caller, v, err)
				continue
			}
			var got any
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			checkJSON(t, fmt.Sprintf("%s prints %T", caller, v), "", got)
			if _, ok := v.(shownConfig); ok {
				continue // no client reads it
			}
			back := reflect.New(reflect.TypeOf(v))
			err = json.Unmarshal(b, back.Interface())
			if again, merr := json.Marshal(back.Interface()); err != nil || merr != nil || string(again) != string(b) {
				t.Errorf("%T: read %s from\n%s, %v", v, again, b, err)
			}
		}
	}
	for _, caller := range printCallers(t) {
		if printed[caller] == nil {
			t.Errorf("%s prints a type that this test does not check: add it to printed", caller)
		}
	}
}

// duration is the value of every duration in a filled type: 1234.567891 ms.
const duration = 1234567891 * time.Nanosecond

var snakeKey = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

func checkJSON(t *testing.T, where, key string, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if !snakeKey.MatchString(k) {
				t.Errorf("%s: the key %q of %q is not snake_case", where, k, key)
			}
			checkJSON(t, where, k, x)
		}
	case []any:
		for _, x := range v {
			checkJSON(t, where, key, x)
		}
	case float64:
		switch isMs := strings.HasSuffix(key, "_ms"); {
		case v == float64(duration):
			t.Errorf("%s: %q is a duration in nanoseconds, want milliseconds", where, key)
		case v == float64(duration)/1e6 && !isMs:
			t.Errorf(`%s: %q is a duration; its key must end in "_ms"`, where, key)
		}
		for _, unit := range []string{"_ns", "_us", "_seconds", "_sec"} {
			if strings.HasSuffix(key, unit) {
				t.Errorf(`%s: %q has another unit than "_ms"`, where, key)
			}
		}
	case string:
		if v == duration.String() {
			t.Errorf("%s: %q is a duration as text, want milliseconds", where, key)
		}
	}
}

// fill sets every field of a value, so that "omitempty" omits nothing.
func fill(v reflect.Value, depth int) {
	if depth > 12 {
		return
	}
	switch v.Interface().(type) {
	case time.Duration, perto.Millis:
		v.SetInt(int64(duration))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1, 0)))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("192.0.2.0/24")))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("192.0.2.1:53")))
		return
	case json.RawMessage:
		v.SetBytes([]byte("1"))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		key, element := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(element, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, element)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth+1)
			}
		}
	}
}

// printCallers returns the functions of this package that call print.
func printCallers(t *testing.T) (out []string) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range names {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := f.Name.Name
			if f.Recv != nil {
				receiver := f.Recv.List[0].Type
				if star, ok := receiver.(*ast.StarExpr); ok {
					receiver = star.X
				}
				name = receiver.(*ast.Ident).Name + "." + name
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "print" {
						out = append(out, name)
					}
				}
				return true
			})
		}
	}
	if len(out) < 20 {
		t.Errorf("found only %d calls of print: %v", len(out), out)
	}
	return out
}
