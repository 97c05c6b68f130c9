// Package functions runs the application's code where the client is: WebAssembly
// modules that answer requests, or stand before what answers them.
//
//	Host.Load(name, wasm) -> *Module   checked and compiled once, shared by all
//	Module.Handle(request, next)       an instance of it answers
//
// Two ways to speak with a module are understood:
//
//   - http-wasm http_handler (https://http-wasm.io/http-handler-abi/): exports
//     handle_request and handle_response, and imports what it needs of the request
//     from module "http_handler". It is middleware: it may answer, or change the
//     request and let the next one answer, and then see the response.
//   - WAGI: any WASI command that prints, as CGI programs do.
//
// A module can do nothing but compute, unless its host functions give it something:
// no files, no sockets, no clock of its own. What it may use is bounded by
// [Limits]; a module that breaks one fails that request only.
package functions
