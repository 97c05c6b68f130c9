// Package arch holds no product code. Its tests read every Go file of the
// module and enforce the house rules: who may import whom, which outside
// library may be used where, and that packages say what they are for.
package arch
