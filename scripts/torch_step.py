#!/usr/bin/env python3
"""The training step of `mocostream bench step` in PyTorch, for scripts/bench_step.py: one MoCo v2 step of a ResNet-18 with a CIFAR
stem on uint8 batches in memory. Prints one JSON object: images/s (an image is two views) by the median step, images per second of
processor time over all timed steps, and the peak of the process's memory.

usage: torch_step.py [--width 16] [--batch 64] [--split 4] [--steps 10] [--threads 2]
"""
import argparse, json, resource, time
import torch, torch.nn as nn, torch.nn.functional as F
from torchvision.models.resnet import BasicBlock, ResNet


class SplitBN(nn.BatchNorm2d):
    """BatchNorm over G groups of the batch, as MoCo's CIFAR demo emulates several GPUs."""
    G = 1

    def forward(self, x):
        n, c, h, w = x.shape
        if not self.training or self.G == 1:
            return super().forward(x)
        return F.batch_norm(x.reshape(n // self.G, c * self.G, h, w), None, None, self.weight.repeat(self.G), self.bias.repeat(self.G),
                            True, self.momentum, self.eps).reshape(n, c, h, w)


def encoder(a):
    net = ResNet(BasicBlock, [2, 2, 2, 2], width_per_group=64, norm_layer=SplitBN if a.split > 1 else nn.BatchNorm2d)
    if a.width != 64:  # torchvision fixes 64 planes: rebuild the stages narrower
        net.inplanes = a.width
        net.conv1 = nn.Conv2d(3, a.width, 7, 2, 3, bias=False)
        net.bn1 = net._norm_layer(a.width)
        net.layer1 = net._make_layer(BasicBlock, a.width, 2)
        net.layer2 = net._make_layer(BasicBlock, a.width * 2, 2, stride=2)
        net.layer3 = net._make_layer(BasicBlock, a.width * 4, 2, stride=2)
        net.layer4 = net._make_layer(BasicBlock, a.width * 8, 2, stride=2)
    i = a.width * 8
    net.conv1, net.maxpool = nn.Conv2d(3, a.width, 3, 1, 1, bias=False), nn.Identity()
    net.fc = nn.Sequential(nn.Linear(i, i), nn.ReLU(), nn.Linear(i, 128))
    return net


p = argparse.ArgumentParser()
for k, v in dict(width=16, size=32, batch=64, queue=4096, threads=2, steps=10, warmup=2, split=1).items():
    p.add_argument("--" + k, type=int, default=v)
a = p.parse_args()
torch.set_num_threads(a.threads)
SplitBN.G = a.split
mf = torch.channels_last
fq, fk = encoder(a), encoder(a)
fk.load_state_dict(fq.state_dict())
fq, fk = (n.to(memory_format=mf).train() for n in (fq, fk))
pq, pk = list(fq.parameters()), list(fk.parameters())
opt = torch.optim.SGD(fq.parameters(), 0.06, momentum=0.9, weight_decay=5e-4)
queue = F.normalize(torch.randn(128, a.queue), dim=0)
mean, std = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1), torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
x = torch.randint(0, 256, (2, a.batch, 3, a.size, a.size), dtype=torch.uint8)
labels = torch.zeros(a.batch, dtype=torch.long)
ptr = 0


def step():
    global ptr
    im_q, im_k = (((v.float() - mean) / std).contiguous(memory_format=mf) for v in x)
    q = F.normalize(fq(im_q), dim=1)
    with torch.no_grad():
        torch._foreach_mul_(pk, 0.99)
        torch._foreach_add_(pk, pq, alpha=0.01)
        perm = torch.randperm(a.batch)
        k = torch.empty(a.batch, 128)
        k[perm] = F.normalize(fk(im_k[perm]), dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue], 1) / 0.1
    loss = F.cross_entropy(logits, labels)
    opt.zero_grad(set_to_none=True)
    loss.backward()
    opt.step()
    queue[:, ptr:ptr + a.batch] = k.t()
    ptr = (ptr + a.batch) % a.queue
    return loss


def cpu():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime


for _ in range(a.warmup):
    step()
times, c = [], cpu()
for _ in range(a.steps):
    t = time.perf_counter()
    step()
    times.append(time.perf_counter() - t)
c = cpu() - c
times.sort()
print(json.dumps(dict(
    torch=torch.__version__,
    images_per_second=a.batch / times[len(times) // 2],
    images_per_cpu_second=a.batch * a.steps / c,
    peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
)))
