"""Writes what torchvision makes of the encoders, for parameters_test.go and torchvision_test.go:

torchvision_names.json     names and shapes of each architecture's state_dict, in its order
torchvision_features.json  features and projections of one image, by narrow encoders in inference mode

The encoders of the second are made of torchvision's own blocks, since its classes fix the width at 64. Weights and pixels
come from a formula (values), so that only results need to be kept.

Usage, in this folder: python make_torchvision_fixture.py
"""

import json
import zlib

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

WIDTH, DIM, SIDE = 16, 8, 48
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# name: block, blocks a stage, groups, width_per_group, head
ARCHITECTURES = {
    "resnet18": (BasicBlock, (2, 2, 2, 2), 1, 64, "linear"),
    "resnet34": (BasicBlock, (3, 4, 6, 3), 1, 64, "mlp"),
    "resnet50": (Bottleneck, (3, 4, 6, 3), 1, 64, "mlp_bn"),
    "resnet101": (Bottleneck, (3, 4, 23, 3), 1, 64, "linear"),
    "wide_resnet50_2": (Bottleneck, (3, 4, 6, 3), 1, 128, "mlp"),
    "resnext50_32x4d": (Bottleneck, (3, 4, 6, 3), 32, 4, "mlp_bn"),
}


def values(name, size):
    """Numbers in [0, 1), a function of the name and their place: 24 bits of a mixed 32-bit count."""
    x = np.arange(size, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(zlib.crc32(name.encode()))
    for _ in range(2):
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x45D9F3B)
    return ((x ^ (x >> np.uint32(16))) >> np.uint32(8)) / 2.0**24


def weights(name, shape):
    u = values(name, int(np.prod(shape)))
    if name.endswith("running_var") or len(shape) == 1 and name.endswith("weight"):
        u = 0.5 + u
    elif len(shape) == 1:
        u = (u - 0.5) * 0.2
    else:
        u = (u - 0.5) * np.sqrt(12.0 / np.prod(shape[1:]))
    return torch.from_numpy(u.astype(np.float32).reshape(shape))


class Narrow(torchvision.models.ResNet):
    """torchvision's ResNet of another width."""

    def __init__(self, block, layers, groups, width_per_group, head):
        nn.Module.__init__(self)
        self._norm_layer, self.inplanes, self.dilation = nn.BatchNorm2d, WIDTH, 1
        self.groups, self.base_width = groups, width_per_group
        self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)
        self.maxpool, self.avgpool = nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d((1, 1))
        for stage, count in enumerate(layers):
            stride = 1 if stage == 0 else 2
            setattr(self, f"layer{stage + 1}", self._make_layer(block, WIDTH << stage, count, stride=stride))
        width = (WIDTH << 3) * block.expansion
        hidden, last = nn.Linear(width, width), nn.Linear(width, DIM)
        self.fc = {
            "linear": last,
            "mlp": nn.Sequential(hidden, nn.ReLU(), last),
            "mlp_bn": nn.Sequential(hidden, nn.BatchNorm1d(width), nn.ReLU(), last),
        }[head]


def results(definition):
    model = Narrow(*definition).eval()
    state = model.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(weights(name, tuple(tensor.shape)))
    pixels = np.floor(values("pixels", SIDE * SIDE * 3) * 256).reshape(1, SIDE, SIDE, 3)
    images = torch.from_numpy((pixels / 255 - MEAN) / STD).permute(0, 3, 1, 2)
    kept = []
    model.fc.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    with torch.inference_mode():
        projection = model.double()(images)
    rounded = [[float(f"{v:.9g}") for v in x[0].tolist()] for x in (kept[0], projection)]
    return {"head": definition[-1], "features": rounded[0], "projection": rounded[1]}


def main():
    names = {}
    for arch in ARCHITECTURES:
        state = getattr(torchvision.models, arch)(weights=None).state_dict()
        names[arch] = {name: list(t.shape) for name, t in state.items() if not name.startswith("fc.")}
    body = ",\n".join(
        f' "{arch}": {{\n' + ",\n".join(f'  "{n}": {json.dumps(s)}' for n, s in state.items()) + "\n }"
        for arch, state in names.items()
    )
    with open("torchvision_names.json", "w") as f:
        f.write("{\n" + body + "\n}\n")
    cases = {arch: results(definition) for arch, definition in ARCHITECTURES.items()}
    with open("torchvision_features.json", "w") as f:
        json.dump({"width": WIDTH, "side": SIDE, "mean": MEAN, "std": STD, "cases": cases}, f, indent=0)
        f.write("\n")


main()
