"""Writes optimizer.json: five steps of torch.optim.SGD and AdamW with given gradients, for optimizer_test.go.

Usage: python make_optimizer_fixture.py > optimizer.json
"""

import json

import torch

SHAPE = (2, 3)
RATES = [0.01, 0.02, 0.03, 0.015, 0.0]  # a warm-up, a decay and a step that moves nothing but the state

CASES = [
    ("sgd", {"momentum": 0.9, "weight_decay": 1e-4}),
    ("sgd", {"momentum": 0.0, "weight_decay": 0.1}),
    ("adamw", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    ("adamw", {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
]


def run(name, options, generator):
    parameter = torch.nn.Parameter(torch.randn(SHAPE, generator=generator))
    make = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[name]
    optimizer = make([parameter], lr=RATES[0], foreach=False, **options)
    initial = parameter.detach().flatten().tolist()
    steps = []
    for i, rate in enumerate(RATES):
        scale = 10.0 ** (i - 3)  # gradients of very different sizes
        parameter.grad = torch.randn(SHAPE, generator=generator) * scale
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
        "shape": list(SHAPE),
        "initial": initial,
        "steps": steps,
    }


def main():
    generator = torch.Generator().manual_seed(5)
    cases = [run(name, options, generator) for name, options in CASES]
    print(json.dumps({"torch": torch.__version__.split("+")[0], "cases": cases}, indent=1))


main()
