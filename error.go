package perto

import "strings"

// Kind says what sort of failure an error is, for whoever has to turn it into
// an HTTP status, a DNS RCODE or an exit code. docs/errors.md holds the table.
type Kind uint8

// The kinds of failure.
const (
	KindInternal    Kind = iota // a bug or an unexpected state
	KindInvalid                 // the input is wrong; trying again does not help
	KindNotFound                // the thing asked for does not exist
	KindConflict                // it exists already, or somebody else holds it
	KindUnavailable             // it should work, but not now
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

// HTTPStatus returns the status code that an API answers for the kind.
func (k Kind) HTTPStatus() int { return kinds[k].httpStatus }

// ExitCode returns the exit status of a command that ends with the kind: 1 for
// what failed, 2 for what was asked wrongly.
func (k Kind) ExitCode() int { return kinds[k].exitCode }

// Error is an error at a boundary where a person or another program reads it.
// Inside a room plain wrapped errors are enough.
type Error struct {
	Op   string // what was attempted ("load geodata")
	Path string // on what: a file, a name, an address; may be empty
	Kind Kind
	Err  error  // the cause; may be nil
	Hint string // what to do about it; may be empty
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
