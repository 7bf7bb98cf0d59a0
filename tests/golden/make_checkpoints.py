"""Writes checkpoints.json and the three files beside it: what the original networks answer to made-up weights.

Run in an environment of its own, with the originals' repositories checked out:

    pip install torch torchvision timm efficientnet_pytorch==0.7.1 safetensors
    python make_checkpoints.py --nvlabs DIR --rosinality DIR --hyperinverter DIR

NVlabs' pickles carry the source of their module; it is replaced by a line that would end the process if it ran.
"""

import argparse
import json
import math
import pickle
import sys
from pathlib import Path

import numpy as np
import torch
import torch.utils.cpp_extension
from random_weights import digest, numbers_of, random_array, random_images
from torch.nn import functional

HERE = Path(__file__).parent
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SKIPPED = ("num_batches_tracked", "resample_filter", "kernel")


def fill(module: torch.nn.Module, prefix: str = "", gain: float | None = 1.0) -> dict[str, tuple[int, ...]]:
    """Puts a made-up array in every entry of a module; returns the keys and shapes of all."""
    state = module.state_dict()
    for key, value in state.items():
        if not key.endswith(SKIPPED):
            state[key] = torch.from_numpy(random_array(prefix + key, tuple(value.shape), gain))
    module.load_state_dict(state)
    module.eval().requires_grad_(False)
    return {prefix + key: tuple(value.shape) for key, value in state.items()}


def use(root: Path) -> None:
    """Imports come from this repository from here on: they name their modules alike."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("model", "models", "dnnlib", "torch_utils", "training")]:
        del sys.modules[name]
    sys.path.insert(0, str(root))


def last(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def latents(count: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((count, width)).astype(np.float32)


def efficientnets() -> list[dict]:
    import timm
    from efficientnet_pytorch import EfficientNet

    cases = []
    for size in (224, 163):
        net = timm.create_model("tf_efficientnet_b0", pretrained=False, num_classes=3)
        keys = digest(fill(net, gain=1.2))
        images = (random_images(size, 2, size) - np.float32(MEAN)) / np.float32(DEVIATION)
        case = {"layout": "timm", "name": "b0", "size": size, "classes": 3, "keys": keys}
        cases.append(case | {"logits": net(first(images)).tolist()})

    class Detector(torch.nn.Module):  # as SelfBlendedImages names it
        def __init__(self):
            super().__init__()
            self.net = EfficientNet.from_name("efficientnet-b0", num_classes=2)

    net = Detector()
    keys = digest(fill(net, gain=1.2))
    logits = net.net(first(random_images(163, 2, 163))).tolist()
    return [*cases, {"layout": "sbi", "name": "b0", "size": 163, "classes": 2, "keys": keys, "logits": logits}]


def readers() -> dict:
    """Small files in both formats of PyTorch: shared, strided, half-precision and integer tensors."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
    state = {
        "whole": base,
        "turned": base.t(),
        "part": base[1:3, 2:5],
        "half": (base[0] / 3).half(),
        "brain": (base[1] / 3).bfloat16(),
        "count": torch.tensor(5),
        "flags": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(base[:, 0].clone()),
    }
    file = {"state_dict": state, "epoch": 3, "opts": argparse.Namespace(rate=np.float64(0.1), names=["a"])}
    torch.save(file, HERE / "tiny_zip.pt")
    torch.save(file, HERE / "tiny_stream.pt", _use_new_zipfile_serialization=False)
    return {key: value.detach().float().tolist() for key, value in state.items()}


def nvlabs(root: Path) -> dict:
    use(root)
    import dnnlib
    from torch_utils import persistence

    persistence._module_to_src = lambda module: "raise SystemExit('source in a checkpoint was run')"
    from training import networks

    shape = {"channel_base": 512, "channel_max": 12, "num_fp16_res": 4, "conv_clamp": 0.7}
    mapping = dnnlib.EasyDict(num_layers=3)
    g = networks.Generator(16, 0, 24, 32, 3, mapping_kwargs=mapping, synthesis_kwargs=dnnlib.EasyDict(shape))
    epilogue = dnnlib.EasyDict(mbstd_group_size=2)
    d = networks.Discriminator(c_dim=0, img_resolution=32, img_channels=3, epilogue_kwargs=epilogue, **shape)
    keys = {"G_ema": digest(fill(g, gain=None)), "D": digest(fill(d, gain=None))}
    file = {"G": None, "D": d, "G_ema": g, "augment_pipe": None, "training_set_kwargs": dnnlib.EasyDict(resolution=32)}
    (HERE / "tiny_nvlabs.pkl").write_bytes(pickle.dumps(file))
    w = g.mapping(torch.from_numpy(latents(4, 16)), None)
    image = g.synthesis(w, noise_mode="const", force_fp32=True)
    real = first(2 * random_images(1, 4, 32) - 1)
    return {
        "keys": keys,
        "w": w[:, 0].tolist(),
        "image": numbers_of(last(image)),
        "logits": d(real, None, force_fp32=True)[:, 0].tolist(),
    }


def rosinality(root: Path) -> dict:
    use(root)
    import model

    g, d = model.Generator(32, 512, 4), model.Discriminator(32)
    keys = {"g_ema": digest(fill(g, gain=None)), "d": digest(fill(d, gain=None))}
    image, _ = g([torch.from_numpy(latents(2, 512))], randomize_noise=False)
    logits = d(first(2 * random_images(1, 4, 32) - 1))[:, 0]
    return {"keys": keys, "image": numbers_of(last(image)), "logits": logits.tolist()}


def hyperinverter(root: Path, size: int = 32, hidden: int = 4) -> list[dict]:
    use(root)
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        import torchvision.models as zoo
    except RuntimeError:  # a torchvision whose compiled half does not fit this torch
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor a, Tensor b, float c) -> Tensor")
        import torchvision.models as zoo
    plain = zoo.resnet34
    zoo.resnet34 = lambda pretrained=True: plain(weights=None)
    from models.encoders import fpn_encoders as encoders
    from models.encoders.model_irse import Backbone
    from models.hypernetwork import Hypernetwork
    from models.stylegan2_ada import Generator
    from models.weight_shapes import STYLEGAN2_ADA_CONV_WEIGHT_WITHOUT_BIAS_SHAPES as SHAPES
    from utils.common import convert_predicted_weights_to_dict

    options = argparse.Namespace(n_styles=2 * int(math.log2(size)) - 2)
    targets = {key: value for key, value in SHAPES.items() if int(key.split(".")[0][1:]) <= size}
    cases = []
    for trunk in ("ir_se", "basic"):
        if trunk == "ir_se":
            e1 = encoders.BackboneEncoderUsingLastLayerIntoW(50, "ir_se", options)
            e2 = encoders.LayerWiseEncoder(50, "ir_se", options)
        else:
            e1, e2 = encoders.ResNetEncoderUsingLastLayerIntoW(), encoders.ResNetLayerWiseEncoder(options)
        hyper = Hypernetwork(512, hidden, targets)
        g = Generator(512, 0, 512, size, 3, synthesis_kwargs={"channel_base": 32768})
        shapes = fill(e1, "w_encoder.", 0.7) | fill(e2, "w_bar_encoder.", 0.7) | fill(hyper, "hypernet.", 0.7)
        fill(g, gain=None)
        image = first(2 * random_images(3, 1, size) - 1)
        small = functional.interpolate(image, size=(256, 256), mode="bilinear", align_corners=False)
        w = e1(small) + g.mapping.w_avg
        ws = w[:, None].repeat(1, g.mapping.num_ws, 1)
        reconstruction = g.synthesis(ws, added_weights=None, noise_mode="const")
        again = functional.interpolate(reconstruction, size=(256, 256), mode="bilinear", align_corners=False)
        offsets = hyper(e2(again), e2(small))
        added = convert_predicted_weights_to_dict({key: value[0] for key, value in offsets.items()})
        final = g.synthesis(ws, added_weights=added, noise_mode="const")
        ends = {}
        for key, value in offsets.items():
            ends[key] = [float(v) for v in (value.mean(), value.std(correction=0), *value.flatten()[[0, 1, -2, -1]])]
        cases.append(
            {
                "trunk": trunk,
                "keys": digest(shapes),
                "w": w[0, :8].tolist(),
                "reconstruction": numbers_of(last(reconstruction)),
                "offsets": ends,
                "image": numbers_of(last(final)),
            }
        )
    net = Backbone(112, 50, "ir_se", 0.6)
    keys = digest(fill(net))
    embedding = net(first(2 * random_images(5, 2, 112) - 1))
    return [*cases, {"trunk": "arcface", "keys": keys, "embedding": embedding[:, :8].tolist()}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("nvlabs", "rosinality", "hyperinverter"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.utils.cpp_extension.load = lambda *args, **kwargs: None  # kernels for GPUs, which nothing here calls
    *inverters, arcface = hyperinverter(arguments.hyperinverter.resolve())
    found = {
        "readers": readers(),
        "hyperinverter": inverters,
        "ir_se50": arcface,
        "nvlabs": nvlabs(arguments.nvlabs.resolve()),
        "rosinality": rosinality(arguments.rosinality.resolve()),
        "efficientnet": efficientnets(),
    }
    (HERE / "checkpoints.json").write_text(json.dumps(found, indent=1) + "\n")
