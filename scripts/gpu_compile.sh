#!/usr/bin/env bash
# Compiles the training step for an H100 on a machine without one and prints a table: ResNet-50, 224 pixels, batch 256,
# queue 65536, in f32 and bf16, on one device and on eight. Fetches 0.7 GB of wheels from PyPI, once, and takes some
# minutes and GB of memory; the compilations run one after the other.
#
# usage: gpu_compile.sh [--only f32-1|f32-8|bf16-1|bf16-8]...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/servers/lib.sh
only=()
while [ $# -gt 0 ]; do
	[ "$1" = --only ] && [ $# -ge 2 ] || usage
	only+=("$2")
	shift 2
done
[ ${#only[@]} -gt 0 ] || only=(f32-1 bf16-1 f32-8 bf16-8)
wheels=(jax-cuda13-pjrt==0.10.2 nvidia-cuda-nvcc nvidia-nvvm) # of jaxlib's version; ptxas and libdevice

# cuda_plugin PYTHON prints the path of JAX's CUDA plugin.
cuda_plugin() {
	local sum dir
	sum=$(printf '%s ' "${wheels[@]}" | cksum)
	dir=$(absolute "$(cache_dir)")/cuda-${sum%% *}
	if [ ! -f "$dir/.installed" ]; then
		say "fetching ${wheels[*]} (once)"
		rm -rf "$dir"
		"$1" -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir" "${wheels[@]}" >&2 ||
			die "pip could not install ${wheels[*]}; see its message above"
		touch "$dir/.installed"
	fi
	echo "$dir/jax_plugins/xla_cuda13/xla_cuda_plugin.so"
}

# dump PRECISION DEVICES FILE writes the step's program. The plugin has as many devices and does not compile.
dump() {
	PJRTJAX_DEVICES=$2 PJRTJAX_COMPILE=0 bin/mocostream doctor --dump-hlo "$3" --set "train.backend=xla:$forward,shared_buffers=false" \
		--set train.arch=resnet50 --set train.width=64 --set train.stem=imagenet --set augment.size=224 --set train.batch=256 \
		--set train.k=65536 --set train.bn_groups=8 --set "train.precision=$1" --set "train.devices=$2" >&2
}

forward=$(scripts/xla_cpu.sh)
python=$(scripts/xla_cpu.sh --python)
exec 9>"$(absolute "$(cache_dir)")/.gpu-compile.lock"
flock 9
cuda=$(cuda_plugin "$python")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
programs=()
for name in "${only[@]}"; do
	case $name in f32-1 | f32-8 | bf16-1 | bf16-8) ;; *) usage ;; esac
	dump "${name%-*}" "${name#*-}" "$dir/$name.mlir"
	programs+=("${name#*-}:$dir/$name.mlir")
done
"$python" scripts/gpu_compile.py "$cuda" "${programs[@]}"
