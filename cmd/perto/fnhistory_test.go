package main

import (
	"fmt"
	"testing"

	"perto/mobility"
)

// TestRollbackSkipsRolledBackVersions: each rollback goes one version further back, and
// a rolled back version does not return.
func TestRollbackSkipsRolledBackVersions(t *testing.T) {
	var list []mobility.Release // newest first
	push := func(code string) { // "" removes
		list = append([]mobility.Release{{Version: uint64(len(list) + 1), Digest: code, Removed: code == ""}}, list...)
	}
	rollback := func(version uint64) string {
		old, err := earlier(list, version)
		if err != nil {
			return err.Error()
		}
		note := fmt.Sprintf(rollbackNote, origin(list, old.Version))
		old.Version, old.Note = uint64(len(list)+1), note
		list = append([]mobility.Release{old}, list...)
		return old.Digest + ", " + note
	}
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	push("a") // 1
	want(rollback(0), "there is no older version")
	push("bad")                                   // 2
	want(rollback(0), "a, rollback to version 1") // 3
	want(rollback(0), "the current version runs the code of version 1, and no older version is kept")
	want(rollback(2), "bad, rollback to version 2") // 4: explicitly
	want(rollback(0), "a, rollback to version 1")   // 5
	push("c")                                       // 6
	push("c")                                       // 7: the same code again
	push("d")                                       // 8
	want(rollback(0), "c, rollback to version 7")   // 9
	want(rollback(0), "a, rollback to version 1")   // 10: version 5 was a rollback to 1
	want(rollback(0), "the current version runs the code of version 1, and no older version is kept")
	push("")                                      // 11
	want(rollback(0), "a, rollback to version 1") // 12
	want(rollback(11), "version 11 is not kept, is the newest, or removes the function")
	want(rollback(12), "version 12 is not kept, is the newest, or removes the function")
	list = list[:3] // older ones are dropped
	want(rollback(0), "the current version runs the code of version 1, and no older version is kept")
}
