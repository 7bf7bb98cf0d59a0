"""Writes perceptual.json: the perceptual terms in plain PyTorch, float64, weights and images made of names.

    pip install torch numpy && python tests/golden/make_perceptual.py

Only outputs are stored. Layers are channels first; names and shapes of weights are those of fdetect_jax.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from perceptual_inputs import image, weight
from torch import nn


def value(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(weight(name, shape)).double()


def conv(name: str, i: int, o: int, k: int, stride: int = 1, padding: int = 0, bias: bool = False) -> nn.Conv2d:
    layer = nn.Conv2d(i, o, k, stride, padding, bias=bias)
    layer.weight.data = value(f"params/{name}/kernel", k, k, i, o).permute(3, 2, 0, 1).contiguous()
    if bias:
        layer.bias.data = value(f"params/{name}/bias", o)
    return layer


def norm(name: str, n: int, kind=nn.BatchNorm2d):
    layer = kind(n, eps=1e-5)
    layer.weight.data, layer.bias.data = value(f"params/{name}/scale", n), value(f"params/{name}/bias", n)
    layer.running_mean = value(f"batch_stats/{name}/mean", n)
    layer.running_var = value(f"batch_stats/{name}/var", n)
    return layer


def prelu(name: str, n: int) -> nn.PReLU:
    layer = nn.PReLU(n)
    layer.weight.data = value(f"params/{name}/slope", n)
    return layer


def lpips(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    layers = [
        nn.Sequential(conv("alexnet/conv0", 3, 64, 11, 4, 2, True), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(3, 2), conv("alexnet/conv1", 64, 192, 5, 1, 2, True), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(3, 2), conv("alexnet/conv2", 192, 384, 3, 1, 1, True), nn.ReLU()),
        nn.Sequential(conv("alexnet/conv3", 384, 256, 3, 1, 1, True), nn.ReLU()),
        nn.Sequential(conv("alexnet/conv4", 256, 256, 3, 1, 1, True), nn.ReLU()),
    ]
    mean = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    std = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    x, y, total = (x - mean) / std, (y - mean) / std, 0.0
    for i, layer in enumerate(layers):
        x, y = layer(x), layer(y)
        a = x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)
        b = y / (y.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)
        lin = value(f"params/lin{i}", x.shape[1])
        total = total + F.conv2d((a - b).pow(2), lin[None, :, None, None]).mean((1, 2, 3))
    return total


class Unit(nn.Module):
    def __init__(self, name: str, i: int, o: int, stride: int):
        super().__init__()
        if i == o:
            self.shortcut = nn.MaxPool2d(1, stride)
        else:
            self.shortcut = nn.Sequential(
                conv(f"{name}/shortcut_conv", i, o, 1, stride), norm(f"{name}/shortcut_bn", o)
            )
        self.body = nn.Sequential(
            norm(f"{name}/bn0", i),
            conv(f"{name}/conv0", i, o, 3, 1, 1),
            prelu(f"{name}/prelu", o),
            conv(f"{name}/conv1", o, o, 3, stride, 1),
            norm(f"{name}/bn1", o),
        )
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv(f"{name}/se_reduce", o, o // 16, 1),
            nn.ReLU(),
            conv(f"{name}/se_expand", o // 16, o, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return self.shortcut(x) + y * self.gate(y)


def arcface() -> nn.Module:
    layers = [
        conv("trunk/stem_conv", 3, 64, 3, 1, 1),
        norm("trunk/stem_bn", 64),
        prelu("trunk/stem_prelu", 64),
    ]
    width, index = 64, 0
    for features, units in ((64, 3), (128, 4), (256, 14), (512, 3)):
        for i in range(units):
            layers.append(Unit(f"trunk/unit{index}", width, features, 2 if i == 0 else 1))
            width, index = features, index + 1
    linear = nn.Linear(512 * 7 * 7, 512)
    linear.weight.data = value("params/linear/kernel", 512 * 7 * 7, 512).T.contiguous()
    linear.bias.data = value("params/linear/bias", 512)
    return nn.Sequential(*layers, norm("norm0", 512), nn.Flatten(), linear, norm("norm1", 512, nn.BatchNorm1d))


class Bottleneck(nn.Module):
    def __init__(self, name: str, i: int, width: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            conv(f"{name}/conv0", i, width, 1),
            norm(f"{name}/bn0", width),
            nn.ReLU(),
            conv(f"{name}/conv1", width, width, 3, stride, 1),
            norm(f"{name}/bn1", width),
            nn.ReLU(),
            conv(f"{name}/conv2", width, 4 * width, 1),
            norm(f"{name}/bn2", 4 * width),
        )
        self.shortcut = nn.Identity()
        if i != 4 * width:
            self.shortcut = nn.Sequential(
                conv(f"{name}/shortcut_conv", i, 4 * width, 1, stride), norm(f"{name}/shortcut_bn", 4 * width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def resnet50() -> nn.Module:
    layers = [conv("stem_conv", 3, 64, 7, 2, 3), norm("stem_bn", 64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    features, index = 64, 0
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for i in range(blocks):
            layers.append(Bottleneck(f"block{index}", features, width, 2 if i == 0 and stage else 1))
            features, index = 4 * width, index + 1
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def shrink(x: torch.Tensor) -> torch.Tensor:
    return F.adaptive_avg_pool2d(x, 256) if x.shape[-1] > 256 else x


def face_crop(x: torch.Tensor) -> torch.Tensor:
    x = shrink(x)
    if x.shape[-1] < 256:
        x = F.interpolate(x, size=256, mode="bilinear", align_corners=False)
    return F.adaptive_avg_pool2d(x[:, :, 35:223, 32:220], 112)


def cosine(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict:
    a, b = F.normalize(network(x)), F.normalize(network(y))
    return {"distance": (1 - (a * b).sum(1)).tolist()}


def main() -> None:
    torch.set_default_dtype(torch.float64)

    def load(seed: int, size: int) -> torch.Tensor:
        return torch.from_numpy(image(seed, size)).double().permute(0, 3, 1, 2)

    result = {"torch": torch.__version__, "lpips": {}}
    with torch.no_grad():
        for size in (64, 512):
            x, y = shrink(load(1, size)), shrink(load(2, size))
            result["lpips"][str(size)] = {"distance": lpips(x, y).tolist()}
        x, y = load(1, 64), load(2, 64)
        result["identity"] = {"64": cosine(arcface().eval(), face_crop(x), face_crop(y))}
        result["moco"] = {"64": cosine(resnet50().eval(), F.interpolate(x, size=224), F.interpolate(y, size=224))}
        views = {}
        for size in (64, 300, 512):
            x = load(3, size)[:1]
            views[str(size)] = {
                "face_crop": face_crop(x)[0, :, ::37, ::37].permute(1, 2, 0).tolist(),
                "nearest": F.interpolate(shrink(x), size=224)[0, :, ::37, ::37].permute(1, 2, 0).tolist(),
            }
        result["views"] = views
    rounded = json.loads(json.dumps(result), parse_float=lambda text: float(f"{float(text):.9g}"))
    Path(__file__).with_name("perceptual.json").write_text(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    main()
