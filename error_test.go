package perto

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestErrorFormat(t *testing.T) {
	tests := []struct {
		name string
		err  *Error
		want string
	}{
		{"all fields", &Error{Op: "load zone", Path: "cdn.example.zone", Kind: KindNotFound, Err: fs.ErrNotExist, Hint: "create the file"},
			"load zone cdn.example.zone: file does not exist (create the file)"},
		{"kind only", &Error{Op: "find replica", Path: "gru-9", Kind: KindNotFound}, "find replica gru-9: not found"},
		{"no path", &Error{Op: "start", Kind: KindUnavailable}, "start: unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	err := error(tests[0].err)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the cause is not reachable through Unwrap")
	}
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind.ExitCode() != 1 || e.Kind.HTTPStatus() != 404 {
		t.Errorf("got %+v, want a not-found error with exit code 1 and status 404", e)
	}
	if KindInvalid.ExitCode() != 2 {
		t.Error("invalid input must end with the usage exit code 2")
	}
}

// TestErrorTableIsDocumented compares docs/errors.md with the code.
func TestErrorTableIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	for k := KindInternal; k <= KindUnavailable; k++ {
		row := fmt.Sprintf("| %s | %d | %d |", k, k.HTTPStatus(), k.ExitCode())
		if !strings.Contains(string(doc), row) {
			t.Errorf("docs/errors.md lacks the row %q", row)
		}
	}
}
