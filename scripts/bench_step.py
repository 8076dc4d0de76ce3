#!/usr/bin/env python3
"""Compares the training step with PyTorch's on this machine's processors: turn by turn, medians over the pairs.

usage: bench_step.py [--pairs 5] [--steps 10] [--threads N] [--backend go] [--only WIDTH]
N processors are given to both (all of them). --backend is any of `mocostream bench step`, XLA's included. The ratio of each
pair is formed by itself, so that what else the machine does weighs on both alike. On the plugin of scripts/xla_cpu.sh, which runs
XLA in a process of its own, images/s are those of XLA's execution alone, without the plugin's copies.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile

p = argparse.ArgumentParser(usage=__doc__)
p.add_argument("--pairs", type=int, default=5)
p.add_argument("--steps", type=int, default=10)
p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
p.add_argument("--backend", default="go")
p.add_argument("--only", type=int, help="16 or 64")
a = p.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
CASES = [dict(width=16, batch=64, groups=4), dict(width=64, batch=32, groups=1)]


def run(command, **environment):
    done = subprocess.run([str(c) for c in command], env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"bench-step: {' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def ours(c):
    with tempfile.NamedTemporaryFile("r") as timings:
        result = run([os.path.join(here, "..", "bin", "mocostream"), "bench", "step", "--json", "--backend", a.backend, "--width", c["width"],
                      "--batch", c["batch"], "--bn-groups", c["groups"], "--steps", a.steps],
                     GOMAXPROCS=str(a.threads), PJRTJAX_TIMINGS=timings.name)
        executions = [json.loads(line)["execute_s"] for line in timings]
    if executions:  # of XLA, in the plugin for tests
        result["images_per_second"] = c["batch"] / statistics.median(executions[-a.steps:])
    return result


def torchs(c):
    return run([sys.executable, os.path.join(here, "torch_step.py"), "--width", c["width"], "--batch", c["batch"], "--split", c["groups"],
                "--steps", a.steps, "--threads", a.threads])


def compare(c):
    pairs = [(ours(c), torchs(c)) for _ in range(a.pairs)]
    median = lambda name, side: statistics.median(p[side][name] for p in pairs)
    ratio = lambda name: statistics.median(p[0][name] / p[1][name] for p in pairs)
    print(f"| width {c['width']}, batch {c['batch']}, groups {c['groups']} | mocostream | PyTorch {pairs[0][1]['torch']} | ratio |")
    print("|---|---|---|---|")
    inside = "pjrtjax" not in a.backend  # else processor time and memory are another process's
    for name, label, unit in [("images_per_second", "images/s", 1), ("images_per_cpu_second", "images per second of processor time", 1),
                              ("peak_rss_bytes", "peak memory, MiB", 1 << 20)][:3 if inside else 1]:
        print(f"| {label} | {median(name, 0) / unit:.1f} | {median(name, 1) / unit:.1f} | {ratio(name):.2f} |")
    print(flush=True)


print(f"backend {a.backend}, {a.threads} threads, {a.pairs} pairs of {a.steps} steps; ResNet-18, CIFAR stem, 32 px, K 4096\n", flush=True)
for case in CASES:
    if a.only in (None, case["width"]):
        compare(case)
