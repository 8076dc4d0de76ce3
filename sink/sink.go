// Package sink keeps what leaves a run: checkpoints, metrics, dead letters, embeddings and exports for PyTorch.
//
// All of it lies in one run folder, which one process at a time may write (see Store). docs/checkpoint-format.md
// describes the files.
package sink
