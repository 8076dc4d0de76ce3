package train

// queueAge is the mean age, in steps, of the keys in a queue of k after done steps that put perStep keys into it each: the
// newest are of the last step, 1 step old to the next. The random rows of the start are no keys; without keys it is 0.
// Steps that were discarded, and batches of another size earlier in the run, are not accounted for.
func queueAge(k, perStep, done int64) float64 {
	keys := min(done*perStep, k)
	if keys <= 0 {
		return 0
	}
	whole, rest := keys/perStep, keys%perStep
	return float64(perStep*whole*(whole+1)/2+rest*(whole+1)) / float64(keys)
}
