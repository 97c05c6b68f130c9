// Package shopcode holds the shop's functions: the sources of the guests and their
// compiled modules. Most guests are in C. The thumbnail guest is in Rust, for the png
// crate. The same module runs at the origin, at the edges and in the browser.
// Start with [Module].
//
//	greeting    a fragment that differs for each person (a cookie)
//	prices      prices in the currency of the client's country
//	search      search in the catalogue, which is part of the module
//	thumbnail   thumbnails of photos, in front of the photos
package shopcode

import (
	"embed"
)

//go:generate make --silent -C guests

//go:embed guests/*.wasm
var modules embed.FS

// Module returns a module by its file name, for example "greeting.wasm". Errors are those
// of package io/fs.
func Module(file string) ([]byte, error) { return modules.ReadFile("guests/" + file) }
