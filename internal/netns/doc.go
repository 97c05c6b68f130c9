// Package netns makes network namespaces for tests that need the kernel's own
// network and must not touch the machine's. It is for Linux; elsewhere New says
// so and the test skips.
package netns
