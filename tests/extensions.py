"""What a user adds from outside the package, one of everything that has a registry: see ``test_extension.py``.

Nothing here touches the package but its public registries and the classes that they hold.
"""

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import fdetect_jax
from fdetect_jax.datasets.layouts import Item, Layout
from fdetect_jax.detectors import Detector
from fdetect_jax.evaluation.metrics import Metric
from fdetect_jax.forgery import Forged, Forgery
from fdetect_jax.inference.analyses import Analysis
from fdetect_jax.inference.evidence import Evidence
from fdetect_jax.losses.terms import Term
from fdetect_jax.types import KINDS, ForgedPair, Outputs, to_unit


class Six(nn.Module):
    """Six classes, one for real faces and one for each kind of forgery."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.relu(nn.Conv(8, (3, 3), strides=2, name="conv")(to_unit(images)))
        embedding = x.mean(axis=(1, 2))
        return Outputs(nn.Dense(len(KINDS), name="fc")(embedding), {"embedding": embedding})


class Tracing(nn.Module):
    """Two classes, a mask of what was altered, and the image again."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.relu(nn.Conv(8, (3, 3), strides=2, name="conv")(to_unit(images)))
        again = nn.ConvTranspose(3, (2, 2), strides=(2, 2), name="again")(x)
        heads = {"features/conv": x, "mask": nn.Conv(1, (1, 1), name="mask")(x), "reconstruction": again}
        return Outputs(nn.Dense(2, name="fc")(x.mean(axis=(1, 2))), heads)


class Flicker(nn.Module):
    """Two classes of a clip, from how its frames differ."""

    @nn.compact
    def __call__(self, images, train=False):
        frames = to_unit(images)
        change = jnp.abs(frames[:, 1:] - frames[:, :-1]).mean(axis=(1, 2, 3))
        embedding = jnp.concatenate([change, frames.mean(axis=(1, 2, 3))], axis=-1)
        return Outputs(nn.Dense(2, name="fc")(embedding), {"embedding": embedding})


def mask_loss(outputs, batch):
    """Cross-entropy of the mask, cell by cell, of the rows whose mask is known."""
    logits = outputs.heads["mask"][..., 0]
    wanted = jax.image.resize(batch.targets["mask"], logits.shape, "linear")
    loss = nn.relu(logits) - logits * wanted + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return batch.targets["valid"] * loss.mean(axis=(1, 2))


def reconstruction_loss(outputs, batch):
    """Mean squared distance from the image."""
    return jnp.square(outputs.heads["reconstruction"] - batch.image).mean(axis=(1, 2, 3))


def patch(rng, face, donor):
    """A square of the donor, in the middle, and where it lies."""
    image, size = face["image"], face["image"].shape[0]
    inside = slice(size // 4, size // 2)
    fake, mask = image.copy(), np.zeros((size, size), np.float32)
    fake[inside, inside] = 255 - donor()["image"][inside, inside]
    mask[inside, inside] = 1
    return ForgedPair(image, fake, mask, face.get("mask"))


class Dusk:
    """The lower half of a face in the dark, made on the device."""

    frozen: dict = {}  # noqa: RUF012
    counterpart = True

    def forge(self, keys, scene):
        size = scene.images.shape[1]
        below = (jnp.arange(size) >= size // 2).astype(scene.images.dtype)[None, :, None]
        below = jnp.broadcast_to(below, scene.images.shape[:3])
        return Forged(scene.images * (1 - 0.5 * below[..., None]), targets={"mask": below})


def misses(view):
    """The share of fakes that are called real."""
    view.need_both()
    return float(np.mean(view.scores[view.labels == 1] < view.threshold))


def diary_items(root: Path) -> list[Item]:
    """A table ``diary.csv`` of file, label, person, split; its fakes are speaking ones."""
    with open(root / "diary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Item(
            row["file"], int(row["label"]), row["split"], "real" if row["label"] == "0" else "dub", "diary",
            row["person"], row["person"], kind="speaking",
        )
        for row in rows
    ]  # fmt: skip


def size_of(path):
    """Of a file, bytes: what the analysis extracts."""
    return Path(path).stat().st_size


def weigh_size(size):
    """Evidence that speaks for nothing."""
    return Evidence("bytes", size, "neither", 0.0, f"The file has {size} bytes.")


ADDED = {
    "DETECTORS": {
        "six": Detector(lambda overrides, axis, dtype: Six()),
        "tracing": Detector(lambda overrides, axis, dtype: Tracing()),
        "flicker": Detector(lambda overrides, axis, dtype: Flicker(), unit="clip"),
    },
    "TERMS": {
        "mask": Term(mask_loss, "classifier", ("mask",), ("mask", "valid")),
        "redrawn": Term(reconstruction_loss, "classifier", ("reconstruction",)),
    },
    "FORGERIES": {
        "patch": Forgery("Patches of a donor", "attribute", lambda setup: patch),
        "dusk": Forgery("Dusk", "reenactment", lambda setup: Dusk(), place="device"),
    },
    "METRICS": {"misses": Metric(misses, "Misses", "Fakes called real.", "share", "lower")},
    "LAYOUTS": {
        "diary": Layout("diary", diary_items, lambda root: [], "A diary of faces.", "nowhere", marks=("diary.csv",))
    },
    "ANALYSES": {"bytes": Analysis("file", size_of, weigh_size, "Bytes")},
}


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Everything of ``ADDED`` in its registry."""
    for registry, entries in ADDED.items():
        getattr(fdetect_jax, registry).update(entries)
    try:
        yield
    finally:
        for registry, entries in ADDED.items():
            for name in entries:
                del getattr(fdetect_jax, registry)[name]


def write_diary(root: Path, faces: list[np.ndarray]) -> Path:
    """A data set of the layout ``diary``: two pictures of each face, one real and one with a black bar."""
    rows = ["file,label,person,split"]
    for number, face in enumerate(faces):
        fake = face.copy()
        fake[-len(fake) // 8 :] = 0
        split = ("train", "train", "val", "test")[number % 4]
        for label, image in enumerate((face, fake)):
            name = f"{number}_{label}.png"
            root.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name), image[..., ::-1])
            rows.append(f"{name},{label},{number},{split}")
    (root / "diary.csv").write_text("\n".join(rows) + "\n")
    return root
