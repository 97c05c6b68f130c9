// Package compose tests the world of docker-compose.yml. scripts/compose-test starts
// the world and runs the tests. They check the same expectations as the lab in one
// process.
package compose
