"""The process behind plugin.c: it holds buffers and programs of jaxlib's XLA on the CPU and does what link.h describes.

usage: server.py SOCKET AREA DEVICES   (two inherited file descriptors, a number)

Environment:
  PJRTJAX_DUMP=DIR      write every compiled program there: program-N.mlir (as it came), program-N.hlo (as optimised) and
                        program-N.json (bytes of memory)
  PJRTJAX_COMPILE=0     refuse every program: for one that is only to be looked at
  PJRTJAX_TIMINGS=FILE  append a line of JSON for every execution: program, execute_s (XLA alone), total_s (since the
                        request was read), buffers (alive after it)
  PJRTJAX_FAIL=LIST     what befalls executions, counted from 1 over all programs: 7=INTERNAL,9=RESOURCE_EXHAUSTED,12=die
                        fails the 7th and the 9th with such an error and ends this process at the 12th
"""
import json
import mmap
import os
import select
import socket
import struct
import sys
import threading
import time

DEVICES = int(sys.argv[3])
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"


def end_with_client(fd):
    """Ends this process when the other end of the socket is closed, whatever it is doing."""
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


connection = socket.socket(fileno=int(sys.argv[1]))
threading.Thread(target=end_with_client, args=(connection.fileno(),), daemon=True).start()

import numpy as np
import jax
import ml_dtypes
from jax._src.lib import xla_client
from jax._src.sharding_impls import GSPMDSharding
from jax.extend.backend import get_backend
from jaxlib import _jax

# PJRT_Buffer_Type of pjrt_c_api.h.
TYPES = {
    1: np.bool_, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 6: np.uint8, 7: np.uint16, 8: np.uint32, 9: np.uint64,
    10: np.float16, 11: np.float32, 12: np.float64, 13: ml_dtypes.bfloat16, 14: np.complex64, 15: np.complex128,
}
CODES = {np.dtype(t): code for code, t in TYPES.items()}

# PJRT_Error_Code, by the name that begins XLA's own messages.
ERRORS = {
    "INVALID_ARGUMENT": 3, "NOT_FOUND": 5, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "UNIMPLEMENTED": 12,
    "INTERNAL": 13, "UNAVAILABLE": 14,
}
INTERNAL = ERRORS["INTERNAL"]


class Refused(Exception):
    """An error that the environment asked for, in the form of XLA's own."""


class Failures:
    """What PJRTJAX_FAIL asks for, and the count of executions."""

    def __init__(self, text):
        self.count = 0
        self.at = {}
        for entry in filter(None, text.split(",")):
            number, _, what = entry.partition("=")
            if not number.isdigit() or what != "die" and what not in ERRORS:
                raise ValueError(f"PJRTJAX_FAIL: {entry!r} is not NUMBER=CODE with CODE one of die, {', '.join(ERRORS)}")
            self.at[int(number)] = what

    def next(self):
        self.count += 1
        what = self.at.get(self.count)
        if what == "die":
            os._exit(3)
        if what == "RESOURCE_EXHAUSTED":
            raise Refused(f"{what}: Out of memory allocating 123456789 bytes (injected at execution {self.count})")
        if what:
            raise Refused(f"{what}: injected at execution {self.count}")


class Program:
    """A compiled program and how its arguments are spread over devices."""

    def __init__(self, devices, executable, partitions):
        self.executable = executable
        self.devices = devices
        self.shardings = None
        if partitions > 1:
            self.shardings = [xla_client.HloSharding.from_proto(s) for s in executable.get_parameter_shardings()]
        self.description = None  # of the outputs on one device; known after the first execution

    def argument(self, index, parts):
        """The argument made of its parts, one a device."""
        if len(parts) == 1:
            return parts[0]
        sharding = self.shardings[index] if self.shardings else xla_client.HloSharding.replicate()
        shape = parts[0].shape
        if not sharding.is_replicated():
            shape = tuple(n * k for n, k in zip(shape, sharding.tile_assignment_dimensions()))
        return jax.make_array_from_single_device_arrays(shape, GSPMDSharding(self.devices, sharding), parts)

    def run(self, lists):
        """Executes on lists of arguments, one a device; returns such lists of results, all of them ready."""
        arguments = [self.argument(i, parts) for i, parts in enumerate(zip(*lists))] if len(lists) > 1 else lists[0]
        results = self.executable.execute_sharded(arguments).disassemble_into_single_device_arrays()
        for parts in results:
            for part in parts:
                part.block_until_ready()
        return [[parts[d] for parts in results] for d in range(len(lists))]

    def described(self, outputs):
        if self.description is None:
            self.description = [n for x in outputs for n in (CODES[np.dtype(x.dtype)], x.ndim, *x.shape)]
        return self.description


class Server:
    def __init__(self, area):
        self.area = area
        self.backend = get_backend("cpu")
        self.devices = self.backend.local_devices()
        self.buffers, self.last_buffer = {}, 0
        self.programs, self.last_program = {}, 0
        self.failures = Failures(os.environ.get("PJRTJAX_FAIL", ""))
        self.dump = os.environ.get("PJRTJAX_DUMP")
        timings = os.environ.get("PJRTJAX_TIMINGS")
        self.timings = open(timings, "a", buffering=1) if timings else None

    def keep(self, buffers):
        """Numbers buffers, one after the other, and returns the first number."""
        first = self.last_buffer + 1
        self.buffers.update(enumerate(buffers, first))
        self.last_buffer += len(buffers)
        return first

    def compile(self, code, options):
        if os.environ.get("PJRTJAX_COMPILE") == "0":
            raise Refused("UNIMPLEMENTED: PJRTJAX_COMPILE=0")
        text = self.area[:code].decode()
        parsed = xla_client.CompileOptions.ParseFromString(self.area[code:code + options])
        replicas, partitions = parsed.num_replicas, parsed.num_partitions
        parsed.compile_portable_executable = False
        if replicas * partitions > 1 or parsed.device_assignment is None:
            numbers = np.arange(replicas * partitions).reshape(replicas, partitions)
            parsed.device_assignment = xla_client.DeviceAssignment.create(numbers)
        devices = tuple(self.devices[:replicas * partitions])
        executable = self.backend.compile_and_load(text, _jax.DeviceList(devices), parsed)
        self.last_program = number = self.last_program + 1
        self.programs[number] = Program(devices, executable, partitions)
        m = executable.get_compiled_memory_stats()
        memory = [m.generated_code_size_in_bytes, m.argument_size_in_bytes, m.output_size_in_bytes, m.alias_size_in_bytes,
                  m.temp_size_in_bytes]
        if self.dump:
            self.write(number, text, executable, memory)
        return [number, len(executable.get_output_memory_kinds()[0]), *memory]

    def write(self, number, text, executable, memory):
        os.makedirs(self.dump, exist_ok=True)
        base = os.path.join(self.dump, f"program-{number}")
        names = ["code", "arguments", "outputs", "aliased", "temporary"]
        for ending, content in [
            ("mlir", text),
            ("hlo", executable.hlo_modules()[0].to_string()),
            ("json", json.dumps(dict(zip(names, memory)))),
        ]:
            with open(f"{base}.{ending}", "w") as f:
                f.write(content)

    def put(self, kind, device, rank, *dims):
        t = np.dtype(TYPES[kind])
        count = int(np.prod(dims, dtype=np.int64)) if rank else 1
        # A copy of its own: a device buffer on the CPU may go on using the array's memory.
        array = np.frombuffer(self.area, t, count).reshape(dims).copy()
        return [self.keep([jax.device_put(array, self.devices[device])])]

    def get(self, number):
        array = np.asarray(self.buffers[number])
        np.frombuffer(self.area, array.dtype, array.size).reshape(array.shape)[...] = array
        return []

    def execute(self, number, devices, *ids):
        started = time.perf_counter()
        self.failures.next()
        program, each = self.programs[number], len(ids) // devices
        lists = [[self.buffers[i] for i in ids[d * each:(d + 1) * each]] for d in range(devices)]
        begun = time.perf_counter()
        outputs = program.run(lists)
        ended = time.perf_counter()
        first = self.keep([x for device in outputs for x in device])
        values = [first, *program.described(outputs[0])]
        if self.timings:
            line = {"program": number, "execute_s": ended - begun, "total_s": time.perf_counter() - started, "buffers": len(self.buffers)}
            self.timings.write(json.dumps(line) + "\n")
        return values

    def forget(self, kind, numbers):
        for n in numbers:
            kind.pop(n, None)  # there is no reply that could tell of an error

    def do(self, operation, arguments):
        """Returns the values of the reply; None where there is none to send."""
        match operation:
            case "C":
                return self.compile(*arguments)
            case "P":
                return self.put(*arguments)
            case "G":
                return self.get(*arguments)
            case "E":
                return self.execute(*arguments)
            case "F":
                return self.forget(self.buffers, arguments)
            case "X":
                return self.forget(self.programs, arguments)
        raise ValueError(f"unknown operation {operation!r}")


def pack(code, values, text=b""):
    return struct.pack(f"={3 + len(values)}q", code, len(values), len(text), *values) + text


def refusal(error):
    text = str(error) or type(error).__name__
    if not isinstance(error, (Refused, _jax.JaxRuntimeError)):
        text = f"{type(error).__name__}: {text}"
    return pack(ERRORS.get(text.split(":", 1)[0], INTERNAL), [], text.encode()[:4000])


def answer(server, operation, arguments):
    try:
        values = server.do(operation, arguments)
        return b"" if values is None else pack(0, values)
    except Exception as error:
        return refusal(error)


def serve(requests, server):
    while head := requests.read(16):
        operation, count = struct.unpack("=2q", head)
        arguments = struct.unpack(f"={count}q", requests.read(8 * count))
        if reply := answer(server, chr(operation), arguments):
            connection.sendall(reply)


def main():
    jax.config.update("jax_enable_x64", True)
    area = mmap.mmap(int(sys.argv[2]), 0)
    try:
        server = Server(area)
    except Exception as error:
        connection.sendall(refusal(error))
        return
    connection.sendall(pack(0, []))
    serve(connection.makefile("rb", buffering=1 << 20), server)


main()
