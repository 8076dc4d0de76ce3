//go:build !cgo || noxla

package train

// StableHLO cannot be had: this binary has no XLA.
func (t *Trainer) StableHLO() (string, error) { return "", errNoProgram(t.backend) }
