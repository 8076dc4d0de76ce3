package train

// queueAge is the mean age of the keys that the step just done was held against; 0 where there is no queue.
func (t *Trainer) queueAge() float64 {
	if t.options.Mechanism != MoCo {
		return 0
	}
	return queueAge(int64(t.options.K), int64(t.options.keys()), t.done-1)
}

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
