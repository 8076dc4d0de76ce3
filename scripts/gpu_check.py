"""Everything that needs a GPU, within eight minutes: writes docs/gpu.md's measured tables. scripts/gpu_check.sh starts it.

usage: gpu_check.py FOLDER PAGE

FOLDER holds mocostream, train.test, golden/, peers/ and photos/ (make gpu-bundle). The tables go between the marks in PAGE, or
make up the page if there is none. Environment: MOCOSTREAM_GPU_BACKEND runs it on another backend, small and without
torch, to try the program itself; MOCOSTREAM_XLA_PLUGIN names xla_cuda_plugin.so, else that of an installed JAX is taken.
"""
import datetime
import glob
import json
import os
import shutil
import subprocess
import sys
import threading
import time

BEGIN, END = "<!-- gpu-check: begin -->", "<!-- gpu-check: end -->"
LIMIT = 460  # seconds for all of it
STARTED = time.monotonic()
FOLDER, PAGE = os.path.abspath(sys.argv[1]), sys.argv[2]
BACKEND = os.environ.get("MOCOSTREAM_GPU_BACKEND")
SMALL = bool(BACKEND)


def left():
    return LIMIT - (time.monotonic() - STARTED)


def say(text):
    print(f"gpu-check: {time.monotonic() - STARTED:4.0f} s: {text}", file=sys.stderr, flush=True)


def skip(reason):
    print(f"gpu-check: skipped: {reason}")
    sys.exit(0)


def find_plugin():
    """The CUDA plugin of an installed JAX and the folder of the CUDA tools beside it."""
    roots = [p for p in sys.path if p] + glob.glob("/usr/local/lib/python3*/dist-packages") + glob.glob("/opt/*/lib/python3*/site-packages")
    plugins = [os.environ.get("MOCOSTREAM_XLA_PLUGIN")] + [
        p for root in roots for p in sorted(glob.glob(os.path.join(root, "jax_plugins", "xla_cuda*", "xla_cuda_plugin.so")), reverse=True)]
    plugin = next((p for p in plugins if p and os.path.exists(p)), None)
    if not plugin:
        skip("no xla_cuda_plugin.so found; pip install 'jax[cuda13]', or name one in MOCOSTREAM_XLA_PLUGIN")
    site = os.path.dirname(os.path.dirname(os.path.dirname(plugin)))
    tools = [d for d in glob.glob(os.path.join(site, "nvidia", "*")) + ["/usr/local/cuda"] if os.path.exists(os.path.join(d, "nvvm", "libdevice"))]
    if tools:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_cuda_data_dir={tools[0]}".strip()
    else:
        say("no folder with nvvm/libdevice found beside the plugin; XLA looks for one itself")
    os.environ.setdefault("GOPJRT_CUDA_CHECKS", "0")
    return plugin


def nvidia(query):
    if not shutil.which("nvidia-smi"):
        return ""
    out = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", "-i", "0"], capture_output=True, text=True)
    return out.stdout.strip() if out.returncode == 0 else ""


class GPUMemory:
    """The most memory in use on the first GPU while it runs, in MiB."""

    def __enter__(self):
        self.most, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self):
        while not SMALL and not self.ended.wait(0.3):
            used = nvidia("memory.used")
            self.most = max(self.most, int(used)) if used.isdigit() else self.most

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def run(name, command, env=None):
    """Returns stdout, or None and tells why: no program ends the others."""
    if left() < 20:
        say(f"{name}: not run, the time is up")
        return None
    say(name)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=left(), env={**os.environ, **(env or {})}, cwd=FOLDER)
    except subprocess.TimeoutExpired:
        say(f"{name}: ended, the time is up")
        return None
    if done.returncode != 0:
        say(f"{name}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
        return None
    return done.stdout


def step_flags(precision, groups):
    if SMALL:
        sizes = dict(arch="resnet10", width=8, stem="cifar", size=32, batch=16, k=64, steps=3)
    else:
        sizes = dict(arch="resnet50", width=64, stem="imagenet", size=224, batch=256, k=65536, steps=30)
    flags = [f"--{key}={value}" for key, value in sizes.items()]
    return flags + [f"--precision={precision}", f"--bn-groups={groups}", "--json"]


def golden(exact):
    """A line for each case: name, verdict."""
    environment = {"MOCOSTREAM_GOLDEN": os.path.join(FOLDER, "golden"), "MOCOSTREAM_GOLDEN_BACKEND": exact}
    pattern = "^TestGolden$/tiny" if SMALL else "^TestGolden$"
    os.makedirs(os.path.join(FOLDER, "testdata", "golden"), exist_ok=True)
    if left() < 20:
        return []
    say("golden cases")
    try:
        done = subprocess.run(["./train.test", "-test.v", f"-test.run={pattern}"], capture_output=True, text=True,
                              timeout=max(left() / 2, 30), env={**os.environ, **environment}, cwd=FOLDER)
        text, late = done.stdout, ""
        if done.returncode != 0:
            say(f"golden cases: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    except subprocess.TimeoutExpired as e:
        text, late = (e.stdout or b"").decode(), "not finished in time"
    rows = []
    for line in text.splitlines():
        words = line.strip().split()
        if len(words) > 2 and words[0] == "---" and words[2].count("/") == 2:
            rows.append((words[2].split("/", 1)[1], words[1].rstrip(":").lower()))
    return rows + ([("the rest", late)] if late else [])


def steps(backend):
    rows = []
    for label, precision, groups in [("f32 (tf32 products)", "f32", 1), ("bf16", "bf16", 1), ("bf16, 8 BatchNorm groups", "bf16", 8)]:
        with GPUMemory() as memory:
            text = run(f"step, {label}", ["./mocostream", "bench", "step", f"--backend={backend}", *step_flags(precision, groups)])
        if text:
            f = json.loads(text)
            rows.append((f"mocostream {label}", f["images_per_second"], f["ms_per_step"], memory.most, f["compile_seconds"]))
    return rows


def torch_steps():
    rows = []
    program = os.path.join(FOLDER, "peers", "torch_step.py")
    if SMALL or not os.path.exists(program):
        return rows
    with GPUMemory() as memory:
        text = run("torch, bf16, compiled", [sys.executable, program, "--bf16", "--compile"])
    if text:
        words = dict(w.split("=", 1) for w in text.split() if "=" in w)
        rows.append(("PyTorch bf16, compiled", float(words["images_per_second"]), float(words["step_ms"]), memory.most, None))
    return rows


def feed(backend):
    workers = "2,1" if SMALL else ",".join(str(n) for n in (16, 12, 10, 8, 6, 4) if n <= (os.cpu_count() or 1)) or "0"
    flags = [f"--data={FOLDER}/photos", f"--workers={workers}"]
    text = run("step fed from images", ["./mocostream", "bench", "feed", f"--backend={backend}", *flags, *step_flags("bf16", 1 if SMALL else 8)])
    return json.loads(text) if text else []


def gibibytes(mebibytes):
    return f"{mebibytes / 1024:.1f}" if mebibytes else "-"


def tables(device, cases, measured, fed):
    today = datetime.date.today().isoformat()
    lines = [BEGIN, "", f"Measured {today} on {device}, by `make gpu-check`.", ""]
    lines += ["| Golden case, f32 without tf32 | |", "|---|---|"] + [f"| {name} | {verdict} |" for name, verdict in cases] + [""]
    sizes = "a small encoder: a trial of the program, no measurement" if SMALL else "ResNet-50, 224 px, batch 256, K 65,536"
    lines += [f"| {sizes} | images/s | ms a step | GPU memory, GiB | compiled in, s |", "|---|---|---|---|---|"]
    for name, rate, ms, memory, compiled in measured:
        lines.append(f"| {name} | {rate:.0f} | {ms:.1f} | {gibibytes(memory)} | {'-' if compiled is None else f'{compiled:.0f}'} |")
    ours = [r[1] for r in measured if r[0] == "mocostream bf16"]
    peer = [r[1] for r in measured if r[0].startswith("PyTorch")]
    if ours and peer:
        lines += ["", f"mocostream's bf16 step runs at {ours[0] / peer[0]:.2f} times the speed of PyTorch's."]
    lines += ["", "| Workers | images/s, fed from JPEG photos | GPU waits, % of the time | processors used |", "|---|---|---|---|"]
    lines += [f"| {f['workers']} | {f['images_per_second']:.0f} | {100 * f['data_wait']:.1f} | {f['processors_used']:.1f} |" for f in fed]
    enough = [f["workers"] for f in fed if f["data_wait"] < 0.01]
    if fed:
        lines += ["", f"Fewest workers that keep the GPU waiting less than 1 %: {min(enough) if enough else 'more than these'}."]
    return "\n".join(lines + ["", END])


def write(text):
    page = open(PAGE).read() if os.path.exists(PAGE) else f"# On a GPU\n\n{BEGIN}\n{END}\n"
    if BEGIN not in page:
        page += f"\n{BEGIN}\n{END}\n"
    head, rest = page.split(BEGIN, 1)
    with open(PAGE, "w") as f:
        f.write(head + text + rest.split(END, 1)[1])


def main():
    os.environ["GOMLX_NO_AUTO_INSTALL"] = "1"
    backend = exact = BACKEND
    device = "the backend of MOCOSTREAM_GPU_BACKEND"
    if not BACKEND:
        device = nvidia("name")
        if not device:
            skip("nvidia-smi finds no GPU here; carry the folder of make gpu-bundle to a machine that has one")
        plugin = find_plugin()
        backend, exact = f"xla:{plugin}", f"xla:{plugin},tf32=false"
    cases = golden(exact)
    measured = steps(backend) + torch_steps()
    fed = feed(backend)
    write(tables(device, cases, measured, fed))
    say(f"tables written to {PAGE}")
    failed = [name for name, verdict in cases if verdict == "fail"]
    if failed or not cases or len(measured) < 3 or not fed:
        sys.exit(f"gpu-check: not everything was measured; failed cases: {failed}; see above")


if __name__ == "__main__":
    main()
