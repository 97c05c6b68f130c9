package node

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"path/filepath"

	"perto/config"
	"perto/replicas"
)

// digestOf returns a digest of the part of a configuration that all machines share, with
// the contents of the zone files and modules. Machines compare it to find those with an
// old file. Folders and keys are not part of it.
func digestOf(w *config.World) replicas.Digest {
	shared := *w
	if shared.Geodata.Database != "" { // its folder may be another on each machine
		shared.Geodata.Database = filepath.Base(shared.Geodata.Database)
	}
	text, err := json.Marshal(&shared)
	if err != nil {
		return 0
	}
	sum := sha256.Sum256(text)
	return replicas.Digest(max(1, binary.BigEndian.Uint64(sum[:])))
}
