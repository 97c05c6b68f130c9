// Package model has the lab's model of the Internet's users: the delays of paths. It
// sends no packets. Package lab holds packets for its delays.
//
// The parameters are calibrated to the figures of F. Chen, R. Sitaraman and M. Torres,
// "End-User Mapping" (SIGCOMM 2015). Every draw depends only on a seed.
package model
