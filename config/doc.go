// Package config reads the configuration. One HCL file for all machines becomes a typed
// and validated [Local] (this machine) and [World] (the CDN).
//
// A file is accepted completely or rejected. All of its mistakes are reported at once,
// each with file:line:col, the line, a caret and usually a correction. Files are at
// most 4 MiB. They are data: functions and variables are not available. A [Config] must
// not be changed and is then safe for concurrent use. Start with [Load], [Parse] and
// [Show].
package config
