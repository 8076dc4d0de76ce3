"""Writes optimizer.json: five steps of torch.optim.SGD, torch.optim.AdamW and LARS with given gradients, and gradients that
torch.nn.utils.clip_grad_norm_ clipped, for optimizer_test.go.

Usage: python make_optimizer_fixture.py > optimizer.json
"""

import json

import torch

SHAPE = (2, 3)
RATES = [0.01, 0.02, 0.03, 0.015, 0.0]  # a warm-up, a decay and a step that moves nothing but the state


class Lars(torch.optim.Optimizer):
    """LARS as facebookresearch/moco-v3 states it: no scaling and no decay of parameters of one dimension."""

    def __init__(self, params, lr, momentum, weight_decay, trust=0.001, foreach=False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                d = p.grad
                if p.ndim > 1:
                    d = d.add(p, alpha=group["weight_decay"])
                    own, length = torch.norm(p), torch.norm(d)
                    if own > 0 and length > 0:
                        d = d.mul(group["trust"] * own / length)
                mu = self.state[p].setdefault("mu", torch.zeros_like(p))
                mu.mul_(group["momentum"]).add_(d)
                p.add_(mu, alpha=-group["lr"])


CASES = [
    ("sgd", {"momentum": 0.9, "weight_decay": 1e-4}),
    ("sgd", {"momentum": 0.0, "weight_decay": 0.1}),
    ("adamw", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    ("adamw", {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
    ("lars", {"momentum": 0.9, "weight_decay": 1e-6}),
    ("lars", {"momentum": 0.5, "weight_decay": 0.2}),
    ("lars", {"momentum": 0.9, "weight_decay": 0.2, "shape": (6,)}),
    ("lars", {"momentum": 0.9, "weight_decay": 0.2, "zero": True}),
    ("sgd", {"momentum": 0.9, "weight_decay": 0.0, "shape": (6,)}),
    ("adamw", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "shape": (6,)}),
]


def run(name, options, generator):
    options = dict(options)
    shape, zero = options.pop("shape", SHAPE), options.pop("zero", False)
    parameter = torch.nn.Parameter(torch.zeros(shape) if zero else torch.randn(shape, generator=generator))
    make = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW, "lars": Lars}[name]
    optimizer = make([parameter], lr=RATES[0], foreach=False, **options)
    initial = parameter.detach().flatten().tolist()
    steps = []
    for i, rate in enumerate(RATES):
        scale = 10.0 ** (i - 3)  # gradients of very different sizes
        parameter.grad = torch.randn(shape, generator=generator) * scale
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        state = optimizer.state[parameter]
        steps.append({
            "rate": rate,
            "gradient": parameter.grad.flatten().tolist(),
            "parameter": parameter.detach().flatten().tolist(),
            "state": {
                key: value.flatten().tolist()
                for key, value in state.items()
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape
            },
        })
    beta1, beta2 = options.get("betas", (0, 0))
    return {
        "name": name,
        "momentum": options.get("momentum", 0),
        "weight_decay": options["weight_decay"],
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": options.get("eps", 0),
        "shape": list(shape),
        "initial": initial,
        "steps": steps,
    }


def clip(largest, scale, generator):
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in (SHAPE, (4,))]
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator) * scale
    gradients = [p.grad.flatten().tolist() for p in parameters]
    norm = torch.nn.utils.clip_grad_norm_(parameters, largest)
    return {
        "clip_norm": largest,
        "norm": float(norm),
        "gradients": gradients,
        "clipped": [p.grad.flatten().tolist() for p in parameters],
    }


def main():
    generator = torch.Generator().manual_seed(5)
    cases = [run(name, options, generator) for name, options in CASES]
    clips = [clip(largest, scale, generator) for largest, scale in [(1.0, 10.0), (1.0, 0.01), (0.5, 1e-8), (3.0, 1e6)]]
    print(json.dumps({"torch": torch.__version__.split("+")[0], "cases": cases, "clips": clips}, indent=1))


main()
