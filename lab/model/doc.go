// Package model has the lab's model of the Internet's users: the delays of paths, and the
// places of clients, resolvers and sites. It sends no packets. Package lab holds packets
// for its delays. Experiments with many thousand clients compute with it directly.
//
// The parameters are calibrated to the figures of F. Chen, R. Sitaraman and M. Torres,
// "End-User Mapping" (SIGCOMM 2015). docs/mapping.md lists them. Every draw depends only
// on a seed. Start with [Draw]. A World is immutable.
package model
