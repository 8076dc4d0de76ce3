"""Compiles StableHLO programs for an H100 with JAX's CUDA plugin, ahead of time: neither GPU nor driver is needed. Prints
a row of a Markdown table for each: memory, collectives, and the number formats of convolutions and products.

usage: gpu_compile.py PLUGIN.so DEVICES:PROGRAM.mlir...

What is not seen this way: the algorithms that cuDNN chooses on the card and their workspace, speed, and numbers.
"""
import collections
import os
import re
import sys
import time

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # XLA's log: no drivers here, and slow compilations are expected
import jax
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jaxlib import _jax
from jaxlib.mlir import ir

# An H100 SXM by NVIDIA's published figures, as XLA's GpuTargetConfigProto.
H100 = """gpu_device_info {
 threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
 thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
 memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
 cuda_compute_capability { major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES }
 registers_per_core_limit: 65536 registers_per_block_limit: 65536 device_address_bits: 64
 runtime_version: "13.0.0" driver_version: "13.0.0" compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0" }
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""

COLLECTIVES = ["all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"]


def topology(api, devices):
    """So many H100s in one machine, for compiling only. The topology must be a keyword: the positional name is not read."""
    t = xla_client.make_c_api_device_topology(api, "", topology=f"1x1x{devices}", target_config=H100)
    return tuple(t._make_compile_only_devices())


def options(devices):
    o = xla_client.CompileOptions()
    o.num_replicas, o.num_partitions = 1, devices
    if devices > 1:
        o.executable_build_options.use_spmd_partitioning = True
        o.executable_build_options.use_shardy_partitioner = True
        o.device_assignment = xla_client.DeviceAssignment.create(np.arange(devices).reshape(1, devices))
    return o


def compiled(api, text, devices):
    on = topology(api, devices)
    with mlir.make_ir_context():  # the client takes a module, not text
        module = ir.Module.parse(text)
    return on[0].client.compile(module, _jax.DeviceList(on), options(devices))


def formats(hlo, *marks):
    """How many operations with one of these marks there are by the format of what they return, as 105 bf16."""
    types = []
    for line in hlo.splitlines():
        if any(mark in line for mark in marks):
            types.append(re.search(r"= \(?(\w+)\[", line).group(1))
    return ", ".join(f"{n} {t}" for t, n in collections.Counter(types).most_common()) or "none"


def collectives(hlo):
    counts = {c: len(re.findall(rf" {c}(?:-start)?\(", hlo)) for c in COLLECTIVES}
    return ", ".join(f"{n} {c}" for c, n in counts.items() if n) or "none"


def row(api, devices, path):
    with open(path) as f:
        text = f.read()
    started = time.time()
    executable = compiled(api, text, devices)
    took = time.time() - started
    m = executable.get_compiled_memory_stats()
    sizes = [m.argument_size_in_bytes, m.output_size_in_bytes, m.temp_size_in_bytes, m.alias_size_in_bytes]
    hlo = executable.hlo_modules()[0].to_string()
    cells = [os.path.basename(path).removesuffix(".mlir"), *(f"{n / 2**20:,.0f}" for n in sizes), collectives(hlo),
             formats(hlo, 'custom_call_target="__cudnn$conv'), formats(hlo, 'custom_call_target="__cublas', " dot("), f"{took:.0f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    jax.config.update("jax_platforms", "cpu")
    api = xla_client.load_pjrt_plugin_dynamically("cuda", sys.argv[1])
    print("| program | arguments, MiB | outputs | temporary | of the outputs in place | collectives | convolutions | matrix products | compiled in, s |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for argument in sys.argv[2:]:
        devices, path = argument.split(":", 1)
        row(api, int(devices), path)


main()
