#!/usr/bin/env python3
"""Compares an export with PyTorch: the same pixels must give the same features.

    check_export.py EXPORT_DIR PIXELS.safetensors FEATURES.safetensors

EXPORT_DIR is what `mocostream export` wrote. PIXELS holds "pixels", uint8 [N, size, size, 3] RGB; FEATURES holds
"features", float32 [N, D], the backbone's output for them as `mocostream embed` computes it. The weights are loaded
with torchvision and with timm, names unchanged, or with the load_mocostream.py of the export where neither has the
architecture. Exit status 1 if any of them differs by more than 1e-4 of the largest feature (or of 1, if that is more).

Needs torch, safetensors, and torchvision or timm (both are used where both are there).
"""

import argparse
import importlib.util
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file
from torch import nn

TOLERANCE = 1e-4


def by_loader(folder, config):
    spec = importlib.util.spec_from_file_location("load_mocostream", folder / "load_mocostream.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(folder)


def by_torchvision(folder, config):
    import torchvision

    model = getattr(torchvision.models, config["architecture"])(weights=None)
    model.fc = nn.Identity()
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    return model


def by_timm(folder, config):
    import timm

    # timm reads config.json and loads model.safetensors by itself, strictly.
    return timm.create_model(f"local-dir:{folder}", pretrained=True)


def by_moco(folder, config):
    """The module of facebookresearch/moco's moco/builder.py, as far as its state goes."""
    import torchvision

    class MoCo(nn.Module):
        def __init__(self, dim, k, head):
            super().__init__()
            for name in "encoder_q", "encoder_k":
                encoder = getattr(torchvision.models, config["architecture"])(weights=None, num_classes=dim)
                width = encoder.fc.weight.shape[1]
                if head == "mlp":
                    encoder.fc = nn.Sequential(nn.Linear(width, width), nn.ReLU(), encoder.fc)
                if head == "mlp_bn":
                    encoder.fc = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), encoder.fc)
                setattr(self, name, encoder)
            self.register_buffer("queue", torch.zeros(dim, k))
            self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    state = load_file(folder / "model.safetensors")
    moco = MoCo(config["dim"], state["queue"].shape[1], config["head"])
    moco.load_state_dict(state, strict=True)
    encoder = moco.encoder_q if config["encoder"] == "q" else moco.encoder_k
    encoder.fc = nn.Identity()
    return encoder


def ways(folder, config):
    """Returns the ways to load the export, by name."""
    if (folder / "load_mocostream.py").exists():
        return {"load_mocostream.py": by_loader}
    if config["names"] == "moco":
        return {"moco": by_moco}
    return {"torchvision": by_torchvision, "timm": by_timm}


def features(model, config, pixels):
    cfg = config["pretrained_cfg"]
    mean = torch.tensor(cfg["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(cfg["std"]).view(1, 3, 1, 1)
    model.eval()
    parts = []
    with torch.inference_mode():
        for part in pixels.split(32):
            x = part.permute(0, 3, 1, 2).float() / 255
            parts.append(model((x - mean) / std))
    return torch.cat(parts)


def compare(name, got, want):
    if got.shape != want.shape:
        print(f"{name}: features {tuple(got.shape)}, expected {tuple(want.shape)}")
        return False
    worst = (got - want).abs().max().item()
    limit = TOLERANCE * max(1.0, want.abs().max().item())
    ok = worst <= limit  # False for NaN
    print(f"{name}: {len(got)} images, largest difference {worst:.2e}, limit {limit:.2e}: {'ok' if ok else 'DIFFERS'}")
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export_dir", type=pathlib.Path)
    parser.add_argument("pixels", type=pathlib.Path)
    parser.add_argument("features", type=pathlib.Path)
    args = parser.parse_args()

    config = json.loads((args.export_dir / "config.json").read_text())
    pixels = load_file(args.pixels)["pixels"]
    want = load_file(args.features)["features"]
    if len(pixels) == 0:
        sys.exit("no pixels to compare")
    checked, good = 0, True
    for name, load in ways(args.export_dir, config).items():
        try:
            model = load(args.export_dir, config)
        except ModuleNotFoundError as missing:
            print(f"{name}: not checked, {missing}")
            continue
        checked += 1
        good = compare(name, features(model, config, pixels), want) and good
    if checked == 0:
        sys.exit("nothing was checked: install torchvision or timm")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
