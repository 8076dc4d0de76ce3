// Package loader decides the order in which samples are trained on and has them in memory in time. It reads ahead
// concurrently, hands out in one exact order, bounds the bytes it holds, and goes on after a resume with the very sample
// that would have come next. It knows an image as bytes.
//
// The order of a bounded source depends on (seed, epoch, manifest) alone. Single files are permuted as a whole, without
// a list of them (order.go). Shards are permuted too and taken in blocks: within a block a random merge of the shards,
// each read through once, feeds a shuffle buffer (blocks.go). Buffer and merge are simulated on indices, so that neither
// the timing of reads nor a resume can change the order.
package loader
