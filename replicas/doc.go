// Package replicas knows who can serve: it gathers heartbeats (soft state),
// probes and the administrator's word about every edge into one immutable
// [Fleet], published whenever something that matters changed.
//
// It is layer 1. The mapper reads the Fleet to decide who should serve whom;
// this package decides nothing about clients.
package replicas
