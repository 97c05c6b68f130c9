// Package compose tests the world of docker-compose.yml: scripts/compose-test
// brings it up and runs the tests. They hold it to the same expectations as the
// lab in one process.
package compose
