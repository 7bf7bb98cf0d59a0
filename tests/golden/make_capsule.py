"""Writes capsule.json: what the authors' Capsule-Forensics, both versions, answer to made-up weights and images.

Run in an environment of its own, with the authors' code beside it: git clone
https://github.com/nii-yamagishilab/Capsule-Forensics v1; the same of Capsule-Forensics-v2, to v2; pip install torch
torchvision; python make_capsule.py. Answers of the authors' own weights of version 1 (over a made-up trunk) are
among them.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from random_weights import numbers_of, random_array, random_images

sys.path[:0] = ["v1", "v2"]
VGG19 = torchvision.models.vgg19  # before it is replaced
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE, BATCH = 48, 3
MODULES = {"capsule_v1": "model", "capsule_v2": "model_big"}
AUTHORS = Path("v1/checkpoints/deepfakes/capsule_95.pt")
# Parts of a primary capsule -> the layers here: both activated maps, the statistics, both layers over the channels.
STAGES = {2: "map0", 5: "map1", 6: "statistics", 8: "hidden", 10: "places"}


def made_up(module: torch.nn.Module, gain: float, prefix: str = "") -> None:
    """Weights by their names, the routing's from N(0, 1); counts of updates stay."""
    state = module.state_dict()
    for key, value in state.items():
        if value.ndim:
            state[key] = torch.from_numpy(
                random_array(prefix + key, tuple(value.shape), None if "route" in key else gain)
            )
    module.load_state_dict(state)


def made_up_vgg19(pretrained: bool) -> torch.nn.Module:
    """In place of the ImageNet weights that the authors' code downloads."""
    net = VGG19()
    made_up(net.features, 1.4, "features.")
    return net


def numbers(x: torch.Tensor) -> list[float]:
    """Of a stage of any rank: mean, deviation, first and last values."""
    flat = x.detach().numpy().reshape(-1)
    return [float(f"{float(v):.8g}") for v in (flat.mean(), flat.std(), *flat[:3], *flat[-3:])]


def capsules_of(net: torch.nn.Module) -> list[torch.nn.Sequential]:
    """The primary capsules of either version."""
    found = net.fea_ext
    return list(found.capsules) if hasattr(found, "capsules") else [getattr(found, f"ext_{n}") for n in (1, 2, 3)]


def answers(net: torch.nn.Module, x: torch.Tensor, version: str, train: bool) -> dict:
    """Every stage of one pass. train: batch statistics, made-up noise, and dropout by a made-up mask."""
    net.train(train)
    found = {}
    for place, name in STAGES.items():
        for number, capsule in enumerate(capsules_of(net)):
            key = (name, number)
            capsule[place].register_forward_hook(lambda m, i, output, key=key: found.update({key: output.detach()}))
    net.fea_ext.register_forward_hook(lambda m, i, output: found.update(primary=output))
    routed = {}
    net.routing_stats.register_forward_hook(lambda m, i, output: routed.update(z=output.detach()))
    options = {"random": train} | ({"dropout": 0.05 if train else 0.0} if version == "capsule_v2" else {})
    randn, drawn = torch.randn, torch.Tensor.bernoulli
    torch.randn = lambda *shape: torch.from_numpy(random_array("noise", tuple(shape), None))
    torch.Tensor.bernoulli = lambda self, p: torch.from_numpy(mask(tuple(self.shape[:-1]), p))[..., None]
    try:
        with torch.no_grad():
            values, score = net(x, **options)
    finally:
        torch.randn, torch.Tensor.bernoulli = randn, drawn
    count = len(capsules_of(net))
    stages = {name: numbers(torch.stack([found[name, n] for n in range(count)])) for name in STAGES.values()}
    loss = sys.modules[MODULES[version]].CapsuleLoss(-1)(values, torch.tensor([1, 0, score.shape[1] - 1]))
    return {
        "stages": stages | {"primary": numbers(found["primary"])},
        "z": routed["z"].tolist(),
        "score": score.tolist(),
        "loss": loss.item(),
    }


def mask(shape: tuple[int, ...], p: float) -> np.ndarray:
    """1 where a prediction is kept."""
    return (np.random.default_rng(11).uniform(size=shape) < p).astype(np.float32)


def run(version: str, classes: int, weights: Path | None) -> dict:
    """The answers of one network to the same images."""
    module = importlib.import_module(MODULES[version])
    module.models.vgg19 = made_up_vgg19
    trunk = module.VggExtractor()
    make = (lambda: module.CapsuleNet(-1)) if version == "capsule_v1" else (lambda: module.CapsuleNet(classes, -1))
    images = (random_images(6, BATCH, SIZE) - np.float32(MEAN)) / np.float32(DEVIATION)
    with torch.no_grad():
        x = trunk(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
    case = {"name": version, "classes": classes, "authors": weights is not None, "size": SIZE, "batch": BATCH}
    case["trunk"] = numbers_of(x.permute(0, 2, 3, 1).numpy())
    for form in ("eval", "train"):
        net = make()
        if weights is None:
            made_up(net, 1.4)
        else:
            net.load_state_dict(torch.load(weights, "cpu", weights_only=True))
        case[form] = answers(net, x, version, form == "train")
    return case


if __name__ == "__main__":
    cases = [("capsule_v1", 2, None), ("capsule_v2", 2, None), ("capsule_v2", 4, None), ("capsule_v1", 2, AUTHORS)]
    path = Path(__file__).with_name("capsule.json")
    path.write_text("[" + ",\n".join(json.dumps(run(*case)) for case in cases) + "]\n")
