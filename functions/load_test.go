package functions

import (
	"strings"
	"testing"
	"time"
)

func TestLoadRejects(t *testing.T) {
	h, err := NewHost(t.Context(), HostConfig{Limits: Limits{Module: 1 << 10, Begin: 1500 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	header := string(wasmCore)
	for name, tt := range map[string]struct{ wasm, want string }{
		"empty":     {"", "not a WebAssembly module"},
		"text":      {"#!/bin/sh", "not a WebAssembly module"},
		"component": {string(wasmComponent) + "\x00", "it is a component"},
		"truncated": {header + "\x01\x7f", ""},
		"nothing":   {header, "exports no function that can handle a request"},
		"large":     {header + strings.Repeat("\x00", 1<<10), "the limit is 1024"},
		"unknown":   {header + "\x01\x04\x01\x60\x00\x00\x02\x10\x01\x05perto\x06kv_put\x00\x00", "it imports perto.kv_put; perto has client_info, edge_info, fetch, fetch_body, kv_get, log, now"},
		"type":      {header + "\x01\x04\x01\x60\x00\x00\x02\x0d\x01\x05perto\x03now\x00\x00", "it imports perto.now(); this host has perto.now() -> i64"},
		"terminal":  {header + "\x01\x04\x01\x60\x00\x00" + "\x02\x0b\x01\x05perto\x01\x1b\x00\x00", `it imports perto.\u001b; perto has`},
		"memory":    {header + "\x02\x0a\x01\x03env\x01m\x02\x00\x01", "it imports its memory"},
		"big":       {header + "\x05\x04\x01\x00\xd0\x0f\x07\x05\x01\x01m\x02\x00", "it starts with 128000 KiB of memory; its limit is 65536 (raise the limit"},
		"big inside": {header + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x04\x01\x00\xd0\x0f\x07\x0a\x01\x06_start\x00\x00\x0a\x04\x01\x02\x00\x0b",
			"not enough memory"},
		"loop": {header + "\x01\x04\x01\x60\x00\x00\x03\x03\x02\x00\x00\x07\x0a\x01\x06_start\x00\x01\x08\x01\x00\x0a\x0c\x02\x07\x00\x03\x40\x0c\x00\x0b\x0b\x02\x00\x0b",
			"it exceeded its time limit (1.5s)"},
		"import": {header + "\x01\x04\x01\x60\x00\x00\x02\x09\x01\x03env\x01f\x00\x00", "it imports env.f"},
	} {
		m, err := h.Load(t.Context(), name, []byte(tt.wasm), ModuleOptions{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, %v; want %q", name, m, err, tt.want)
		}
	}
}
