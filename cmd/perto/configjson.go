package main

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode"

	"perto"
	"perto/config"
)

// configJSON returns a configuration as the value that JSON shows: keys are in snake_case,
// durations are in milliseconds. The contents of zone files and modules are left out.
func configJSON(c *config.Config) any { return jsonValue(reflect.ValueOf(c)) }

func jsonValue(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case config.Roles:
		return x.Names()
	case perto.Place, json.Marshaler, encoding.TextMarshaler:
		return x
	}
	switch kind := v.Kind(); {
	case kind == reflect.Pointer || kind == reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return jsonValue(v.Elem())
	case kind == reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			list = append(list, jsonValue(v.Index(i)))
		}
		return list
	case kind == reflect.Struct:
		out := make(map[string]any)
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() {
				continue
			}
			key := snakeCase(field.Name)
			switch x := v.Field(i).Interface().(type) {
			case []byte:
			case time.Duration:
				out[key+"_ms"] = perto.Millis(x)
			default:
				out[key] = jsonValue(v.Field(i))
			}
		}
		return out
	}
	return v.Interface()
}

// snakeCase returns the key of a Go field: "ttl_min" for TTLMin.
func snakeCase(name string) string {
	in := []rune(strings.ReplaceAll(name, "PoP", "Pop"))
	var b strings.Builder
	for i, r := range in {
		starts := unicode.IsUpper(r) && i > 0 && (unicode.IsLower(in[i-1]) || i+1 < len(in) && unicode.IsLower(in[i+1]))
		if starts {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
