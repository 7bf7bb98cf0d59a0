"""StyleGAN2's synthesis and HyperInverter in plain PyTorch, for comparison: NCHW, our weights, no gradient to them.

Written from the papers (arXiv 1912.04958, 2112.00719). Styles scale the input and the output of one shared
convolution, which on every device is faster than kernels modulated per sample; energies of fixed kernels are cached.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


class Kernel(NamedTuple):
    """weight: (O, I, k, k) or (B, O, I, k, k), (…, I, O, k, k) if it doubles the size. energy: sum of squares over
    k×k, (O, I) or (B, O, I)."""

    weight: Tensor
    energy: Tensor


def to_torch(arrays: Mapping[str, np.ndarray], prefix: str, device: str) -> dict[str, Tensor]:
    """Our variables under ``prefix``; kernels (k, k, I, O) become (O, I, k, k)."""
    found = {}
    for path, value in arrays.items():
        if path.startswith(prefix + "/"):
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            found[path.removeprefix(prefix + "/")] = torch.tensor(np.ascontiguousarray(value), device=device)
    return found


class Synthesis:
    """ws -> images: (B, w_dim) -> (B, 3, R, R), nominally in [-1, 1]."""

    def __init__(self, weights: Weights, resolution: int, channels_last: bool):
        self.weights, self.resolution = weights, resolution
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=weights["params/synthesis/const"].device)
        self.filter = torch.outer(taps, taps)[None, None] / 16
        self.names = []
        for r in (2**i for i in range(2, int(math.log2(resolution)) + 1)):
            self.names += [f"b{r}_conv0"] * (r > 4) + [f"b{r}_conv1", f"b{r}_torgb"]
        self.kernels = self.prepare({})

    def prepare(self, offsets: Mapping[str, Tensor]) -> dict[str, Kernel]:
        """The kernels of a call; offsets: (B, O, I, k, k) by layer."""
        kernels = {}
        for name in self.names:
            weight = self.weights[f"params/synthesis/{name}/weight"]
            if name in offsets:
                weight = weight + offsets[name]
            energy = weight.square().sum((-2, -1))
            if name.endswith("conv0"):
                weight = weight.transpose(-4, -3).contiguous()
            if weight.ndim == 4:
                weight = weight.contiguous(memory_format=self.format)
            kernels[name] = Kernel(weight, energy)
        return kernels

    def __call__(self, w: Tensor, kernels: Mapping[str, Kernel] | None = None) -> Tensor:
        kernels = kernels or self.kernels
        const = self.weights["params/synthesis/const"].permute(2, 0, 1)
        x = const.expand(w.shape[0], *const.shape).contiguous(memory_format=self.format)
        image = None
        for name in self.names:
            y = self._layer(name, x, w, kernels[name])
            if name.endswith("torgb"):
                image = y.float() if image is None else self._upsample(image) + y.float()
            else:
                x = y
        return image

    def _layer(self, name: str, x: Tensor, w: Tensor, kernel: Kernel) -> Tensor:
        p = {key: self.weights[f"params/synthesis/{name}/{key}"] for key in ("bias", "affine/weight", "affine/bias")}
        style = w @ (p["affine/weight"] / math.sqrt(w.shape[1])) + p["affine/bias"]
        if name.endswith("torgb"):
            style = style / math.sqrt(x.shape[1])
            return convolve(x * style[:, :, None, None], kernel.weight) + p["bias"][:, None, None]
        squares = style.square()
        energy = kernel.energy if kernel.energy.ndim == 3 else kernel.energy[None]
        scale = torch.rsqrt((energy * squares[:, None]).sum(-1) + 1e-8)
        x = x * style[:, :, None, None]
        x = self._blur(convolve_up(x, kernel.weight)) if name.endswith("conv0") else convolve(x, kernel.weight)
        strength = self.weights[f"params/synthesis/{name}/noise_strength"]
        noise = strength * self.weights[f"buffers/synthesis/{name}/noise_const"]
        x = x * scale[:, :, None, None].to(x.dtype) + (noise + p["bias"][:, None, None]).to(x.dtype)
        return F.leaky_relu(x, 0.2) * math.sqrt(2)

    def _blur(self, x: Tensor) -> Tensor:
        kernel = self.filter.to(x.dtype).expand(x.shape[1], 1, 4, 4)
        return F.conv2d(x, kernel, padding=1, groups=x.shape[1])

    def _upsample(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.filter.expand(3, 1, 4, 4), stride=2, padding=1, groups=3)


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """SAME cross-correlation with one kernel, or each image with its own."""
    padding = weight.shape[-1] // 2
    if weight.ndim == 4:
        return F.conv2d(x, weight, padding=padding)
    b, _, h, w = x.shape
    weight = weight.flatten(0, 1)
    return F.conv2d(x.reshape(1, -1, h, w), weight, padding=padding, groups=b).reshape(b, -1, h, w)


def convolve_up(x: Tensor, weight: Tensor) -> Tensor:
    """Transposed convolution of stride 2 with one kernel, or each image with its own: (h, w) -> (2h + 1, 2w + 1)."""
    if weight.ndim == 4:
        return F.conv_transpose2d(x, weight, stride=2)
    b, _, h, w = x.shape
    y = F.conv_transpose2d(x.reshape(1, -1, h, w), weight.flatten(0, 1), stride=2, groups=b)
    return y.reshape(b, -1, *y.shape[2:])


def to_unit(image: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], clipped."""
    return (image * 0.5 + 0.5).clamp(0, 1)


def _resize(x: Tensor, size: int) -> Tensor:
    return x if x.shape[2] == size else F.interpolate(x, (size, size), mode="bilinear", align_corners=False)


class Inverter:
    """E and H of ``benchmarks._inverter_configs`` in eval mode."""

    def __init__(self, encoder: Weights, hyper: Weights, generator: Synthesis):
        self.encoder, self.hyper, self.generator = encoder, hyper, generator

    def encode(self, image: Tensor) -> Tensor:
        """Images in [-1, 1] -> w (B, w_dim)."""
        x = _trunk(self.encoder, "trunk", _resize(image, 32))[-1].permute(0, 2, 3, 1).flatten(1)
        weight, bias = self.encoder["params/linear/weight"], self.encoder["params/linear/bias"]
        return x @ (weight / math.sqrt(x.shape[1])) + bias + self.generator.weights["buffers/mapping/w_avg"]

    def offsets(self, image: Tensor, first: Tensor) -> dict[str, Tensor]:
        """The image and its first reconstruction in [-1, 1] -> offsets (B, O, I, k, k) by layer."""
        of_image, of_first = self._styles(image), self._styles(first)
        found = {}
        for name in self.generator.names:
            level, layer = int(math.log2(int(name[1:].split("_")[0]))), name.split("_")[1]
            index = 2 * level - 4 if layer == "conv0" else 2 * level - 3
            if level == 2:
                index = 0 if layer == "conv1" else 1
            found[name] = self._regress(name, of_first[index], of_image[index])
        return found

    def _regress(self, name: str, first: Tensor, image: Tensor) -> Tensor:
        p = {
            key.removeprefix(f"params/{name}/"): v for key, v in self.hyper.items() if key.startswith(f"params/{name}/")
        }
        x = torch.cat([first, image], 1)
        x = F.relu(F.conv2d(x, p["fusion/kernel"], p["fusion/bias"]))
        x = F.relu(F.conv2d(x, p["feature0/kernel"], p["feature0/bias"], padding=1))
        x = F.relu(F.conv2d(x, p["feature1_kernel"], p["feature1_bias"], stride=2, padding=1)).flatten(1)
        outputs, inputs, k, _ = self.generator.weights[f"params/synthesis/{name}/weight"].shape
        v = (x @ p["w1"] + p["b1"]).reshape(len(x), inputs, -1)
        return (v @ p["w2"] + p["b2"]).reshape(-1, outputs, inputs, k, k)

    def _styles(self, image: Tensor) -> list[Tensor]:
        p = self.hyper

        def lateral(i: int, x: Tensor) -> Tensor:
            return F.conv2d(x, p[f"params/encoder/lat{i}/kernel"], p[f"params/encoder/lat{i}/bias"])

        c1, c2, c3 = _trunk(p, "encoder/trunk", _resize(image, 32))[-3:]
        c3 = lateral(0, c3)
        p2 = F.interpolate(c3, c2.shape[2:], mode="bilinear", align_corners=True) + lateral(1, c2)
        p1 = F.interpolate(p2, c1.shape[2:], mode="bilinear", align_corners=True) + lateral(2, c1)
        styles = []
        for j in range(2 * int(math.log2(self.generator.resolution)) - 2):
            y, halvings = (c3, 1) if j < 3 else (p2, 2) if j < 7 else (p1, 3)
            for i in range(halvings):
                at = f"params/encoder/style{j}_conv{i}"
                y = F.leaky_relu(F.conv2d(y, p[f"{at}/kernel"], p[f"{at}/bias"], stride=2, padding=1), 0.01)
            styles.append(y)
        return styles


def _trunk(p: Weights, at: str, x: Tensor) -> list[Tensor]:
    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = p[f"params/{at}/{name}/kernel"]
        return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var = (p[f"batch_stats/{at}/{name}/{key}"] for key in ("mean", "var"))
        return F.batch_norm(x, mean, var, p[f"params/{at}/{name}/scale"], p[f"params/{at}/{name}/bias"], eps=1e-5)

    def prelu(name: str, x: Tensor) -> Tensor:
        return F.prelu(x, p[f"params/{at}/{name}/slope"])

    x = prelu("stem_prelu", norm("stem_bn", conv("stem_conv", x)))
    outputs, index = [], 0
    for units in (1, 1, 2):
        for i in range(units):
            unit, stride = f"unit{index}", 2 if i == 0 else 1
            features = p[f"params/{at}/{unit}/conv0/kernel"].shape[0]
            if x.shape[1] == features:
                shortcut = x[:, :, ::stride, ::stride]
            else:
                shortcut = norm(f"{unit}/shortcut_bn", conv(f"{unit}/shortcut_conv", x, stride))
            y = prelu(f"{unit}/prelu", conv(f"{unit}/conv0", norm(f"{unit}/bn0", x)))
            y = norm(f"{unit}/bn1", conv(f"{unit}/conv1", y, stride))
            gate = F.relu(conv(f"{unit}/se_reduce", y.mean((2, 3), keepdim=True)))
            x = shortcut + y * torch.sigmoid(conv(f"{unit}/se_expand", gate))
            index += 1
        outputs.append(x)
    return outputs
