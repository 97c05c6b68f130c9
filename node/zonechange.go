package node

import (
	"errors"
	"fmt"

	"perto"
	"perto/config"
	"perto/dnsserver/zone"
)

// ZoneChanges compares the zones of a configuration with the current ones. Both must be
// free of mistakes. It returns warnings for the log, and an error when the reload must
// not happen: see [zone.Compare].
func ZoneChanges(old, next []config.Zone) (warnings []string, err error) {
	now := make(map[string]*config.Zone, len(next))
	for i := range next {
		now[next[i].Name] = &next[i]
	}
	var errs []error
	for i := range old {
		was, is := &old[i], now[old[i].Name]
		if is == nil {
			warnings = append(warnings, fmt.Sprintf("the zone %s is not served any more", was.Name))
			continue
		}
		w, err := zone.Compare(zone.Config{Name: was.Name, File: was.File, Data: was.Data}, zone.Config{Name: is.Name, File: is.File, Data: is.Data})
		warnings, errs = append(warnings, w...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return warnings, &perto.Error{Op: "replace zones", Kind: perto.KindConflict, Err: err}
	}
	return warnings, nil
}
