// Package config reads the configuration: HCL data, one file for all machines,
// into a typed and validated [Local] (this machine) and [World] (the CDN).
//
// A file is read whole or not at all: all of its mistakes are reported at once,
// each with file:line:col, the line, a caret and what would be right. Functions
// and variables are not available: the file is data.
package config
