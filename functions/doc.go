// Package functions runs an application's code near its clients. Functions are
// WebAssembly modules that respond to requests, or change requests and responses of the
// handler behind them. Start with [NewHost]:
//
//	Host.Load(name, wasm) -> *Module   checked and compiled once, shared by all requests
//	Module.Handle(request, next)       one instance of it handles the request
//
// Two ABIs are supported:
//
//   - http-wasm http_handler (https://http-wasm.io/http-handler-abi/): the module
//     exports handle_request and handle_response, and imports host functions from
//     module "http_handler". It is middleware. It responds itself, or it changes the
//     request, lets the next handler respond, and then sees the response.
//   - WAGI: any WASI command that prints its response, as CGI programs do.
//
// Edges run functions before or behind the cache, and origins before their handler
// (package node). A [Host] and its Modules are safe for concurrent use. An instance
// handles one request at a time.
//
// A module can only compute. Everything else comes from host functions: it has no
// files, no sockets and no clock of its own. [Limits] bound the resources of a module.
// When a call exceeds a limit, only that request fails.
package functions
