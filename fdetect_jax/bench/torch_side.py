"""The PyTorch side of every benchmark: the same work on the same weights, in several variants; the fastest counts.

EfficientNet is efficientnet_pytorch, with PyTorch's SiLU in place of its slower memory-saving one; Lite variants are of
efficientnet_lite_pytorch.
"""

import copy
import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet as Lite
from efficientnet_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fdetect_jax.bench.crops import make_row
from fdetect_jax.bench.setting import EPSILON, LEARNING_RATE, MOMENTUM, RHO, VARIANTS, Setting, lite
from fdetect_jax.bench.torch_stylegan2 import Inverter, Synthesis, to_torch, to_unit
from fdetect_jax.data.rows import MakeRow

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REAL, FAKE = 0, 1
Arrays = dict[str, np.ndarray]
Call = Callable[[], dict[str, Tensor]]


@dataclasses.dataclass(frozen=True)
class Peer:
    """The fastest variant: its call, its first outputs, and the seconds of all variants tried."""

    variant: str
    call: Callable[[], Any]
    outputs: Arrays
    tried: dict[str, float]
    prepare: Callable[[], Any] = lambda: None


@dataclasses.dataclass(frozen=True)
class Variant:
    """How to run: compiled or not, in which memory layout and dtype."""

    compiled: bool
    channels_last: bool
    half: bool

    def compile(self, function: Callable) -> Callable:
        return torch.compile(function) if self.compiled else function

    @property
    def format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def cast(self) -> torch.autocast:
        return torch.autocast(DEVICE, torch.bfloat16, enabled=self.half)

    def images(self, images: np.ndarray) -> Tensor:
        """(B, S, S, 3) -> (B, 3, S, S) in this variant's layout."""
        return torch.tensor(images, device=DEVICE).permute(0, 3, 1, 2).contiguous(memory_format=self.format)


def best(name: str, arrays: Arrays, setting: Setting, variants: Sequence[str] | None = None) -> Peer:
    """Runs the variants (all of them by default) and keeps the fastest."""
    torch.backends.cudnn.benchmark = True
    if name == "input_pipeline":
        return _input_pipeline(setting)
    if name == "predict":
        from fdetect_jax.bench import torch_files

        call, outputs = torch_files.predict(setting, DEVICE)
        return Peer("plain script", call, outputs, {})
    found: Peer | None = None
    tried = {}
    for title in variants or VARIANTS:
        variant = Variant("compile" in title, "channels-last" in title, setting.dtype == "bfloat16")
        call = BENCHMARKS[name](arrays, setting, variant)
        outputs = {key: value.detach().float().cpu().numpy() for key, value in call().items()}
        call()
        tried[title] = statistics.median(seconds(call) for _ in range(3))
        if found is None or tried[title] < found.tried[found.variant]:
            found = Peer(title, call, outputs, tried)
        print(f"{name}: torch {title} {tried[title]:.3f} s", file=sys.stderr)
    return found


def seconds(call: Callable[[], Any]) -> float:
    """The duration of one synchronised call."""
    synchronize = torch.cuda.synchronize if DEVICE == "cuda" else lambda: None
    synchronize()
    start = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - start


def device_memory() -> int | None:
    """Peak bytes on the accelerator; None on a CPU."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None


class Detector(nn.Module):
    """EfficientNet-PyTorch on images in [0, 1]."""

    def __init__(self, net: EfficientNet | Lite):
        super().__init__()
        self.net = net
        mean, deviation = ((127 / 255,) * 3, (128 / 255,) * 3) if isinstance(net, Lite) else (MEAN, DEVIATION)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.net((images - self.mean) / self.deviation)


def _detector(arrays: Arrays, setting: Setting, variant: Variant) -> Detector:
    name = setting.detector.replace("_", "-")
    library = Lite if "lite" in name else EfficientNet
    net = library.from_name(name, image_size=setting.pixels, num_classes=2, dropout_rate=0.0, drop_connect_rate=0.0)
    if library is EfficientNet:
        net.set_swish(memory_efficient=False)
    state = {key.removeprefix("detector."): torch.tensor(v) for key, v in arrays.items() if key.startswith("detector.")}
    counters = {key: value for key, value in net.state_dict().items() if key.endswith("num_batches_tracked")}
    net.load_state_dict(counters | state)
    return Detector(net).to(DEVICE).to(memory_format=variant.format)


class Frozen:
    """A detector in eval mode: no gradient to parameters, BatchNorm folded into the convolutions."""

    def __init__(self, source: Detector, variant: Variant):
        self.detector = copy.deepcopy(source).eval().requires_grad_(False).to(memory_format=variant.format)
        self.pairs = []
        for (module, conv, norm), (theirs, _, _) in zip(_norms(self.detector), _norms(source), strict=True):
            convolution = getattr(module, conv)
            fused = fuse_conv_bn_eval(convolution, getattr(module, norm))
            setattr(module, conv, fused)
            setattr(module, norm, nn.Identity())
            self.pairs.append((fused, getattr(theirs, conv), getattr(theirs, norm)))

    @torch.no_grad()
    def refresh(self, source: Detector) -> None:
        """Folds BatchNorm again after training has changed it."""
        for fused, conv, norm in self.pairs:
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            fused.weight.copy_(conv.weight * scale[:, None, None, None])
            fused.bias.copy_(norm.bias - norm.running_mean * scale)
        ours = dict(self.detector.named_parameters())
        for name, value in source.named_parameters():
            if "_se_" in name or "_fc" in name:
                ours[name].copy_(value)


def _norms(detector: Detector) -> list[tuple[nn.Module, str, str]]:
    """(module, its convolution, its BatchNorm), all of them."""
    net = detector.net
    found = [(net, "_conv_stem", "_bn0"), (net, "_conv_head", "_bn1")]
    for block in net._blocks:
        pairs = ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")
        found += [(block, conv, norm) for conv, norm in pairs if hasattr(block, conv)]
    return found


def _margin(logits: Tensor) -> Tensor:
    return logits[:, REAL].float() - logits[:, FAKE].float()


def b4_forward(arrays: Arrays, setting: Setting, variant: Variant) -> Call:
    detector = Frozen(_detector(arrays, setting, variant), variant).detector
    images, run = variant.images(arrays["images"]), variant.compile(detector)

    def call():
        with torch.inference_mode(), variant.cast():
            return {"logits": run(images)}

    return call


def b4_input_gradient(arrays: Arrays, setting: Setting, variant: Variant) -> Call:
    detector = Frozen(_detector(arrays, setting, variant), variant).detector
    images, run = variant.images(arrays["images"]).requires_grad_(), variant.compile(detector)

    def call():
        with variant.cast():
            value = _margin(run(images)).sum()
        return {"gradient": torch.autograd.grad(value, images)[0].permute(0, 2, 3, 1)}

    return call


class Sam:
    """Sharpness-aware SGD with momentum, with list-wide (foreach) operations."""

    def __init__(self, detector: Detector, variant: Variant):
        self.detector, self.variant = detector.train(), variant
        self.run = variant.compile(lambda images, labels: _loss(detector, images, labels))
        self.parameters = [p for p in detector.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(self.parameters, LEARNING_RATE, momentum=MOMENTUM)
        self.norms = [m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)]
        self.rates = [m.momentum for m in self.norms]

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One update; returns the logits of the first pass."""
        with self.variant.cast():
            loss, logits = self.run(images, labels)
        gradient = torch.autograd.grad(loss, self.parameters)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradient)))
        offset = torch._foreach_mul(gradient, RHO / (norm + 1e-12))
        with torch.no_grad():
            torch._foreach_add_(self.parameters, offset)
        kept = [[m.running_mean.clone(), m.running_var.clone()] for m in self.norms]
        with self.variant.cast():
            loss, _ = self.run(images, labels)
        gradient = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():  # the running statistics are those of the first pass
            for norm, (mean, var) in zip(self.norms, kept, strict=True):
                norm.running_mean.copy_(mean)
                norm.running_var.copy_(var)
            torch._foreach_sub_(self.parameters, offset)
        for parameter, g in zip(self.parameters, gradient, strict=True):
            parameter.grad = g
        self.optimizer.step()
        return logits


def _loss(detector: Detector, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = detector(images)
    return F.cross_entropy(logits.float(), labels), logits


def _probes(detector: Detector) -> dict[str, Tensor]:
    net = detector.net
    at = {
        "stem": net._conv_stem.weight.permute(2, 3, 1, 0),
        "depthwise": net._blocks[1]._depthwise_conv.weight.permute(2, 3, 1, 0),
        "norm": net._blocks[1]._bn1.weight,
        "head": net._conv_head.weight.permute(2, 3, 1, 0),
        "classifier": net._fc.weight.T,
    }
    return {name: value.detach().clone() for name, value in at.items()}


def _moved(before: dict[str, Tensor], detector: Detector) -> dict[str, Tensor]:
    return {f"update of {name}": value - before[name] for name, value in _probes(detector).items()}


def b4_sam_step(arrays: Arrays, setting: Setting, variant: Variant) -> Call:
    detector = _detector(arrays, setting, variant)
    sam, images = Sam(detector, variant), variant.images(arrays["images"])
    labels = torch.tensor(arrays["labels"], dtype=torch.int64, device=DEVICE)
    first = [_probes(detector)]

    def call():
        logits = sam.step(images, labels)
        return {"logits": logits} | _moved(first.pop(), detector) if first else {}

    return call


def _generator(arrays: Arrays, setting: Setting, variant: Variant) -> Synthesis:
    return Synthesis(to_torch(arrays, "generator", DEVICE), setting.resolution, variant.channels_last)


def stylegan2_synthesis(arrays: Arrays, setting: Setting, variant: Variant) -> Call:
    generator = _generator(arrays, setting, variant)
    w, run = torch.tensor(arrays["w"], device=DEVICE), variant.compile(lambda w: generator(w))

    def call():
        with torch.inference_mode(), variant.cast():
            return {"image": run(w).permute(0, 2, 3, 1)}

    return call


class Attack:
    """Projected gradient ascent in W from the centre of the ball."""

    def __init__(self, generator: Synthesis, detector: Detector, setting: Setting, variant: Variant):
        self.generator, self.detector, self.setting, self.variant = generator, detector, setting, variant
        self.objective = variant.compile(lambda w, kernels: _margin(self.detector(self.render(w, kernels))).sum())

    def render(self, w: Tensor, kernels: Any = None) -> Tensor:
        image = to_unit(self.generator(w, kernels)).contiguous(memory_format=self.variant.format)
        return F.interpolate(image, (self.setting.pixels,) * 2, mode="bilinear", align_corners=False)

    def ascend(self, w: Tensor, kernels: Any = None) -> Tensor:
        delta, size = torch.zeros_like(w), EPSILON / self.setting.attack_steps**0.5
        for _ in range(self.setting.attack_steps):
            delta.requires_grad_()
            with self.variant.cast():
                value = self.objective(w + delta, kernels)
            g = torch.autograd.grad(value, delta)[0]
            with torch.no_grad():
                delta = delta + size * g / (g.norm(dim=1, keepdim=True) + 1e-8)
                delta = delta * (EPSILON / delta.norm(dim=1, keepdim=True).clamp_min(1e-30)).clamp_max(1.0)
        return delta


def latent_pgd(arrays: Arrays, setting: Setting, variant: Variant) -> Call:
    detector = Frozen(_detector(arrays, setting, variant), variant).detector
    attack = Attack(_generator(arrays, setting, variant), detector, setting, variant)
    w = torch.tensor(arrays["w"], device=DEVICE)
    return lambda: {"delta": attack.ascend(w)}


def adv_step(arrays: Arrays, setting: Setting, variant: Variant) -> Call:
    detector, generator = _detector(arrays, setting, variant), _generator(arrays, setting, variant)
    parts = (to_torch(arrays, name, DEVICE) for name in ("encoder", "hyper"))
    sam, inverter = Sam(detector, variant), Inverter(*parts, generator)
    images, count = variant.images(arrays["images"]), setting.batch
    labels = torch.tensor([REAL] * count + [FAKE] * count, device=DEVICE)
    first = [_probes(detector)]
    frozen = Frozen(detector, variant)
    attack = Attack(generator, frozen.detector, setting, variant)
    score = variant.compile(lambda images: frozen.detector(images).softmax(1)[:, FAKE])

    def latents():
        w = inverter.encode(images * 2 - 1)
        reconstruction = generator(w)
        return w, generator.prepare(inverter.offsets(images * 2 - 1, reconstruction))

    invert, render = variant.compile(latents), variant.compile(attack.render)

    def call():
        with torch.no_grad(), variant.cast():
            frozen.refresh(detector)
            w, kernels = invert()
            reconstruction = render(w, kernels)
        delta = attack.ascend(w, kernels)
        with torch.no_grad(), variant.cast():
            fakes = render(w + delta, kernels)
            p = score(torch.cat([reconstruction, fakes])).view(2, -1).mean(1)
        both = torch.cat([images, fakes]).contiguous(memory_format=variant.format)
        sam.step(both, labels)
        if not first:
            return {}
        return {"p_fake/reconstruction": p[0], "p_fake/adversary": p[1]} | _moved(first.pop(), detector)

    return call


class Rows(torch.utils.data.Dataset):
    """The rows of ``make``, a thousand times each, because the end of an epoch would empty the queue."""

    def __init__(self, make: MakeRow):
        self.make = make

    def __len__(self) -> int:
        return 1000 * len(self.make.source)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self.make((index, index % len(self.make.source)), np.random.default_rng(index))
        return {name: torch.as_tensor(value) for name, value in row.items()}


def _input_pipeline(setting: Setting) -> Peer:
    """torch's DataLoader over the same faces, forgery and augmentation, with a worker per core."""
    workers = os.cpu_count() or 1
    loader = torch.utils.data.DataLoader(
        Rows(make_row(setting)),
        setting.batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        multiprocessing_context="spawn",
    )
    batches = iter(loader)
    count = max(1, setting.faces // setting.batch)

    def draw():
        for _ in range(count):
            batch = {name: rows.to(DEVICE) for name, rows in next(batches).items()}
        return batch

    ahead = 4 * workers
    variant = f"DataLoader, {workers} workers"
    return Peer(variant, draw, {}, {}, prepare=lambda: [next(batches) for _ in range(ahead)])


BENCHMARKS: dict[str, Callable[[Arrays, Setting, Variant], Call]] = {
    "b4_forward": b4_forward,
    "b4_input_gradient": b4_input_gradient,
    "b4_sam_step": b4_sam_step,
    "lite0_sam_step": lambda arrays, setting, variant: b4_sam_step(arrays, lite(setting), variant),
    "stylegan2_synthesis": stylegan2_synthesis,
    "latent_pgd": latent_pgd,
    "adv_step": adv_step,
}
