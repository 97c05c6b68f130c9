// Package arch holds no product code. Its tests read every Go file of the module and
// enforce the project's rules. These cover the imports of each package, the packages
// that may use an outside library, package comments and plain words.
package arch
