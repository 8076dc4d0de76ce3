"""Builds the encoder in this folder with PyTorch and loads its weights.

    model = load("path/to/this/folder")   # an nn.Module in eval mode
    features = model(images)              # [N, 3, H, W] -> [N, num_features]

images are RGB in 0..1, less pretrained_cfg's mean, divided by its std (config.json).
"""

import json
import pathlib

from safetensors.torch import load_file
from torch import nn

# name: blocks a stage; for bottlenecks, groups of the 3x3 convolution and channels a group at width 64
ARCHITECTURES = {
    "resnet10": ((1, 1, 1, 1), None),
    "resnet18": ((2, 2, 2, 2), None),
    "resnet34": ((3, 4, 6, 3), None),
    "resnet50": ((3, 4, 6, 3), (1, 64)),
    "resnet101": ((3, 4, 23, 3), (1, 64)),
    "wide_resnet50_2": ((3, 4, 6, 3), (1, 128)),
    "resnext50_32x4d": ((3, 4, 6, 3), (32, 4)),
}


class Block(nn.Module):
    def __init__(self, cin, planes, bottleneck, stride, act):
        super().__init__()
        cout = planes
        convs = [(cin, planes, 3, stride, 1), (planes, planes, 3, 1, 1)]
        if bottleneck:
            groups, per_group = bottleneck
            inner, cout = planes * per_group // 64 * groups, planes * 4
            convs = [(cin, inner, 1, 1, 1), (inner, inner, 3, stride, groups), (inner, cout, 1, 1, 1)]
        for i, (a, b, k, s, g) in enumerate(convs, 1):
            self.add_module(f"conv{i}", nn.Conv2d(a, b, k, s, k // 2, groups=g, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(b))
        self.depth, self.act, self.downsample = len(convs), act, None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = self.act(y) if i < self.depth else y
        return self.act(y + (x if self.downsample is None else self.downsample(x)))


class Encoder(nn.Module):
    def __init__(self, arch, width, stem, act):
        super().__init__()
        k, s = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv1, self.bn1, self.act = nn.Conv2d(3, width, k, s, k // 2, bias=False), nn.BatchNorm2d(width), act
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        cin = width
        blocks, bottleneck = ARCHITECTURES[arch]
        for stage, depth in enumerate(blocks):
            planes = width << stage
            cout = planes * 4 if bottleneck else planes
            strides = [1 if stage == 0 else 2] + [1] * (depth - 1)
            chain = [Block(cin if i == 0 else cout, planes, bottleneck, s, act) for i, s in enumerate(strides)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*chain))
            cin = cout

    def forward(self, x):
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


def load(folder=pathlib.Path(__file__).parent):
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    act = nn.ReLU() if config["activation"] == "relu" else nn.SiLU()
    model = Encoder(config["architecture"], config["width"], config["stem"], act)
    state = load_file(folder / "model.safetensors")
    if config["names"] == "moco":  # both encoders with their heads, and the queue
        prefix = f"encoder_{config['encoder']}."
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix) and ".fc." not in k}
    model.load_state_dict(state)
    return model.eval()
