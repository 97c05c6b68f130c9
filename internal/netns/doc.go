// Package netns makes network namespaces for tests that need the kernel's network
// without changes to the machine's own. It is for Linux. On other systems, New returns
// an error and the test is skipped. Start with [New] and [Namespace.Do].
package netns
