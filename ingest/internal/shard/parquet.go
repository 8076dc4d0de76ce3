package shard

import (
	"context"
	"errors"
)

func countParquet(ctx context.Context, o Object) (int64, error) { return 0, errors.ErrUnsupported }

func openParquet(ctx context.Context, o Object, opts *Options) (samples, error) {
	return nil, errors.ErrUnsupported
}

func countArrow(ctx context.Context, o Object) (int64, error) { return 0, errors.ErrUnsupported }

func openArrow(ctx context.Context, o Object, opts *Options) (samples, error) {
	return nil, errors.ErrUnsupported
}
