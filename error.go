package perto

import "strings"

// Kind is the class of an error. API, DNS and command code map it to an HTTP status, an
// RCODE or an exit code. docs/errors.md holds the table.
type Kind uint8

// The kinds of failure.
const (
	KindInternal    Kind = iota // a bug or an unexpected state
	KindInvalid                 // the input is wrong; trying again does not help
	KindNotFound                // no such thing exists
	KindConflict                // it exists already, or another owner holds it
	KindUnavailable             // temporary: a later attempt may succeed
)

var kinds = [...]struct {
	name       string
	httpStatus int
	exitCode   int
}{
	KindInternal:    {"internal", 500, 1},
	KindInvalid:     {"invalid", 400, 2},
	KindNotFound:    {"not found", 404, 1},
	KindConflict:    {"conflict", 409, 1},
	KindUnavailable: {"unavailable", 503, 1},
}

// String returns the kind's name in lower case.
func (k Kind) String() string { return kinds[k].name }

// HTTPStatus returns the HTTP status code of an API response for the kind.
func (k Kind) HTTPStatus() int { return kinds[k].httpStatus }

// ExitCode returns the exit status of a command that ends with the kind: 1 for a
// failure, 2 for invalid input.
func (k Kind) ExitCode() int { return kinds[k].exitCode }

// Error is an error at a boundary where a person or another program reads it. Inside a
// package, wrapped errors are enough.
type Error struct {
	Op   string // the attempted operation ("load geodata")
	Path string // the object of the operation: a file, a name, an address; may be empty
	Kind Kind
	Err  error  // the cause; may be nil
	Hint string // how to solve it; may be empty
}

// Error returns "op path: cause" and the hint, on one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Path != "" {
		b.WriteString(" " + e.Path)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	} else {
		b.WriteString(": " + e.Kind.String())
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
