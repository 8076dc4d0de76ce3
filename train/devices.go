package train

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/core/tensors/dtensor"
	"github.com/gomlx/gomlx/ml/model"
)

// BatchNorm says over which images of a batch activations are normalised.
type BatchNorm string

// The kinds of BatchNorm; "" is BNGroups.
const (
	BNGroups BatchNorm = "groups" // over each of Options.Groups runs of consecutive images (shuffle-BN)
	BNPlain  BatchNorm = "plain"  // over what one device computes
	BNSync   BatchNorm = "sync"   // over the whole batch, whatever the devices
)

// groups is the number of groups in which a batch, or a part of it, is normalised.
func (o Options) groups() int {
	switch o.BN {
	case BNPlain:
		return o.devices()
	case BNSync:
		return 1
	}
	return o.Groups
}

func (o Options) devices() int { return max(o.Devices, 1) }

// validateDevices names what keeps the devices from sharing a batch.
func (o Options) validateDevices() error {
	n, part, groups := o.devices(), o.Batch/o.parts(), o.groups()
	switch o.BN {
	case "", BNGroups, BNPlain, BNSync:
	default:
		return fmt.Errorf("train: unknown batch normalisation %q; use groups, plain or sync", o.BN)
	}
	switch {
	case o.Devices < 0:
		return fmt.Errorf("train: %d devices; use at least 1", o.Devices)
	case part%n != 0:
		return fmt.Errorf("train: %d devices cannot share a batch of %d%s evenly; change train.batch or train.devices", n, part, o.ofParts())
	case groups < 1 || part%groups != 0:
		return fmt.Errorf("train: %d BatchNorm groups do not divide the batch of %d%s; change train.bn_groups", groups, part, o.ofParts())
	case o.Encoder.Head == headMLPBN && part == groups:
		return fmt.Errorf("train: %d BatchNorm groups leave the head mlp_bn one row each; lower train.bn_groups or choose another train.head", groups)
	case o.BN != BNSync && groups%n != 0:
		return fmt.Errorf("train: %d BatchNorm groups are no multiple of %d devices: every normalisation would wait for the other devices, "+
			"dozens of times a step instead of twice; make train.bn_groups a multiple of train.devices, or set train.bn to plain "+
			"(one group a device) or sync (one group of all, at that price)", groups, n)
	}
	return nil
}

// devices are the local devices that share a batch, or each part of one: each computes on an equal share of its images, and
// has a copy of the weights and of everything else.
type devices struct {
	backend compute.Backend
	n       int
	mesh    *distributed.DeviceMesh   // nil for one device
	batch   *distributed.ShardingSpec // of views [B, S, S, 3]
	parts   *distributed.ShardingSpec // of views [parts, B/parts, S, S, 3]
	copies  *distributed.ShardingSpec // of anything else
}

// newDevices takes the backend's first n devices.
func newDevices(backend *Backend, n int) (devices, error) {
	d := devices{backend: backend.Backend, n: n}
	if n == 1 {
		return d, nil
	}
	if have := backend.NumDevices(); have < n {
		return d, fmt.Errorf("train: %d devices asked for, and %s has %d; lower train.devices%s",
			n, backend.Config, have, remedyForDevices(backend))
	}
	var err error
	if d.mesh, err = distributed.NewDeviceMesh([]int{n}, []string{"batch"}); err != nil {
		return d, fmt.Errorf("share the batch among %d devices: %w", n, err)
	}
	if d.batch, err = distributed.BuildSpec(d.mesh).S("batch").R().R().R().Done(); err != nil {
		return d, fmt.Errorf("share the batch among %d devices: %w", n, err)
	}
	if d.parts, err = distributed.BuildSpec(d.mesh).R().S("batch").R().R().R().Done(); err != nil {
		return d, fmt.Errorf("share the batch among %d devices: %w", n, err)
	}
	d.copies = distributed.NewReplicatedShardingSpec(d.mesh)
	return d, nil
}

func remedyForDevices(b *Backend) string {
	if b.Layout() == LayoutCHWN {
		return ": the Go backend computes on the processor alone, with all its cores"
	}
	return ", or make more visible (CUDA_VISIBLE_DEVICES)"
}

// distribute has exec run on the devices; the step's arguments are followed by one that is copied.
func (d devices) distribute(exec *model.Exec, arguments []argument) error {
	if d.n == 1 {
		return nil
	}
	var specs []*distributed.ShardingSpec
	for _, a := range arguments {
		specs = append(specs, d.spec(a.shape))
	}
	exec.AutoSharding(d.mesh).WithInputShardingSpecs(append(specs, d.copies)...).WithOutputShardingSpecs(d.copies)
	return exec.SetDefaultShardingSpec(d.copies)
}

// spec says how an argument lies: views by their images, and the few numbers that others are on every device.
func (d devices) spec(shape shapes.Shape) *distributed.ShardingSpec {
	switch {
	case shape.DType != dtypes.Uint8:
		return d.copies
	case shape.Rank() == 5:
		return d.parts
	}
	return d.batch
}

// shapes are those of the inputs on each device, device after device.
func (d devices) shapes(inputs []shapes.Shape) []shapes.Shape {
	if d.n == 1 {
		return inputs
	}
	var all []shapes.Shape
	for range d.n {
		for _, shape := range inputs {
			all = append(all, d.spec(shape).ShardShape(shape))
		}
	}
	return all
}

// place brings an argument of the step to the devices: views ([]byte) now, each device its images, and numbers when the step
// runs. It returns when the caller may overwrite the value.
func (d devices) place(shape shapes.Shape, value any) (any, error) {
	switch value := value.(type) {
	case []byte:
		return d.views(shape, value)
	case []int32:
		return d.copied(func() *tensors.Tensor { return tensors.FromFlatDataAndDimensions(value, shape.Dimensions...) })
	case []int64:
		return d.copied(func() *tensors.Tensor { return tensors.FromFlatDataAndDimensions(value, shape.Dimensions...) })
	}
	return nil, fmt.Errorf("no device takes a %T", value)
}

// views copies views.
func (d devices) views(shape shapes.Shape, pixels []byte) (any, error) {
	if d.n == 1 {
		return tensors.FromRaw(d.backend, 0, shape, pixels)
	}
	spec := d.spec(shape)
	share := spec.ShardShape(shape)
	all := make([]*tensors.Tensor, d.n)
	for i := range all {
		var err error
		if all[i], err = tensors.FromRaw(d.backend, compute.DeviceNum(i), share, d.share(shape, pixels, i)); err != nil {
			free(all[:i])
			return nil, err
		}
	}
	return dtensor.NewTensor(spec, all)
}

// share is what device i has of views: a stretch of the batch, or one of each of its parts.
func (d devices) share(shape shapes.Shape, pixels []byte, i int) []byte {
	parts := 1
	if shape.Rank() == 5 {
		parts = shape.Dimensions[0]
	}
	n := len(pixels) / parts / d.n
	if parts == 1 {
		return pixels[i*n : (i+1)*n]
	}
	var own []byte
	for part := range parts {
		at := (part*d.n + i) * n
		own = append(own, pixels[at:at+n]...)
	}
	return own
}

// numbers puts a slice of numbers on every device.
func (d devices) numbers(values []float32) (any, error) {
	return d.copied(func() *tensors.Tensor { return tensors.FromFlatDataAndDimensions(values, len(values)) })
}

// copied makes a copy for every device.
func (d devices) copied(one func() *tensors.Tensor) (any, error) {
	if d.n == 1 {
		return one(), nil
	}
	copies := make([]*tensors.Tensor, d.n)
	for i := range copies {
		copies[i] = one()
	}
	return dtensor.NewTensor(d.copies, copies)
}

// free frees what place made.
func free[T any](values []T) {
	for _, v := range values {
		if v, ok := any(v).(interface{ FinalizeAll() error }); ok {
			_ = v.FinalizeAll() // nothing is left to do about it
		}
	}
}
