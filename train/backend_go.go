package train

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
)

// openCompute opens a backend by its configuration string. GoMLX's Go backend announces its parallelism on stdout,
// which belongs to results, so that option is set behind its back.
func openCompute(config string) (compute.Backend, error) {
	name, options, _ := strings.Cut(config, ":")
	if name != gobackend.BackendName {
		return compute.NewWithConfig(config)
	}
	rest, workers, found := cutParallelism(options)
	if !found {
		return gobackend.New(options)
	}
	b, err := gobackend.New(rest)
	if err == nil && !setParallelism(b, workers) {
		b.Finalize()
		return gobackend.New(options)
	}
	return b, err
}

// cutParallelism takes parallelism=N, where it is lawful, out of a list of options.
func cutParallelism(options string) (rest string, n int, found bool) {
	var others []string
	for _, option := range strings.Split(options, ",") {
		value, ok := strings.CutPrefix(option, "parallelism=")
		if parsed, err := strconv.Atoi(value); ok && err == nil {
			n, found = parsed, true
			continue
		}
		others = append(others, option)
	}
	return strings.Join(others, ","), n, found
}

// setParallelism reaches the worker pool through its exported field: the backend's type cannot be named outside its
// module. It reports whether that worked.
func setParallelism(b compute.Backend, n int) bool {
	v := reflect.Indirect(reflect.ValueOf(b))
	if v.Kind() != reflect.Struct {
		return false
	}
	field := v.FieldByName("Workers")
	if !field.IsValid() || !field.CanInterface() {
		return false
	}
	pool, ok := field.Interface().(interface{ SetMaxParallelism(int) })
	if ok {
		pool.SetMaxParallelism(n)
	}
	return ok
}
