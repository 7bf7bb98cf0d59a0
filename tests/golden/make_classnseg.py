"""Writes classnseg.json: what the authors' network answers to made-up weights and images, and what it learns by.

Run in an environment of its own, with the authors' code beside it: git clone
https://github.com/nii-yamagishilab/ClassNSeg; pip install torch numpy; PYTHONPATH=ClassNSeg python make_classnseg.py

Labels and halves are the authors': 1 is real.
"""

import json
from pathlib import Path

import numpy as np
import torch
from model.ae import ActivationLoss, Decoder, Encoder, ReconstructionLoss, SegmentationLoss  # the authors'
from random_weights import numbers_of, random_array, random_images

SIZE, BATCH, LABELS = 64, 4, (1, 0, 1, 0)
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def made_up(network: torch.nn.Module) -> torch.nn.Module:
    state = network.state_dict()
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):
            state[key] = torch.from_numpy(random_array(key, tuple(value.shape)))
    network.load_state_dict(state)
    return network


def decode(latent: torch.Tensor, decoder: Decoder, labels: torch.Tensor) -> tuple:
    """The mean activations of the halves, and what the decoder makes of the half of each label."""
    halves = latent.reshape(BATCH, 2, latent.shape[1] // 2, *latent.shape[2:])
    active = halves.abs().reshape(BATCH, 2, -1).mean(dim=2)
    kept = halves * torch.eye(2)[labels][:, :, None, None, None]
    return active, decoder(kept.reshape(latent.shape))


def main() -> dict:
    torch.manual_seed(0)
    encoder, decoder = made_up(Encoder()), made_up(Decoder())
    images = torch.from_numpy(random_images(5, BATCH, SIZE)).permute(0, 3, 1, 2)
    images = (images - torch.tensor(_MEAN)[None, :, None, None]) / torch.tensor(_DEVIATION)[None, :, None, None]
    masks = torch.from_numpy(random_images(6, BATCH, SIZE)[..., 0] >= 0.5).long()
    labels, stages = torch.tensor(LABELS), []
    numbers = lambda x: numbers_of(x.detach().permute(0, 2, 3, 1).numpy())  # noqa: E731
    hooks = [
        layer.register_forward_hook(lambda layer, given, made: stages.append(numbers(made)))
        for network in (encoder, decoder)
        for layer in network.modules()
        if isinstance(layer, torch.nn.ReLU)
    ]
    encoder.eval(), decoder.eval()
    with torch.no_grad():
        latent = encoder(images)
        active, (mask, face) = decode(latent, decoder, labels)
        own, evaluated = list(stages), {"mask": numbers(mask), "face": numbers(face), "activations": active.tolist()}
        _, (mask, _) = decode(latent, decoder, (active[:, 1] >= active[:, 0]).long())
        evaluated["mask of the prediction"] = numbers(mask)
    for hook in hooks:
        hook.remove()
    encoder.train(), decoder.train()
    active, (mask, face) = decode(encoder(images), decoder, labels)
    losses = {
        "activation": ActivationLoss()(active[:, 0], active[:, 1], labels.float()),
        "segmentation": SegmentationLoss()(mask, masks),
        "reconstruction": ReconstructionLoss()(face, images),
    }
    sum(losses.values()).backward()
    chosen = {"encoder": ("encoder.3.weight", "encoder.25.bias"), "decoder": ("shared.3.weight", "segmenter.12.weight")}
    gradients = {
        key: [float(part.abs().mean()), *map(float, part.flatten()[:3])]
        for network, name in ((encoder, "encoder"), (decoder, "decoder"))
        for key, part in ((key, dict(network.named_parameters())[key].grad) for key in chosen[name])
    }
    return {
        "size": SIZE,
        "labels": LABELS,
        "stages": own,
        "evaluated": evaluated,
        "losses": {name: value.item() for name, value in losses.items()},
        "gradients": gradients,
        "running mean": decoder.state_dict()["decoder.10.running_mean"][:3].tolist(),
    }


if __name__ == "__main__":
    np.seterr(all="raise")
    Path(__file__).with_name("classnseg.json").write_text(json.dumps(main(), indent=1) + "\n")
