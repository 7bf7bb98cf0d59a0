"""The compiled functions of an evaluation. In: batches of faces. Out: margins, embeddings and pictures.

Pictures stay on the devices until they are requested; the scalars are computed there.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax.forgery import DeviceForgery, Scene
from fdetect_jax.forgery.mix import forge_rows
from fdetect_jax.types import Outputs, margin, to_unit

Detect = Callable[[Any], Callable[[jax.Array], Outputs]]  # (variables) -> (images -> Outputs), in eval mode
MARGIN, EMBEDDING, PICTURE, PSNR, MAP, LOGITS = "margin/", "embedding/", "picture/", "psnr/", "map/", "logits/"
_AFTER_TRAINING = 1 << 30  # a step after every warm-up


def _scored(outputs: Mapping[str, Outputs]) -> dict[str, jax.Array]:
    found = {MARGIN + name: margin(one.logits) for name, one in outputs.items()}
    found |= {LOGITS + name: one.logits.astype(jnp.float32) for name, one in outputs.items()}
    return found | {
        EMBEDDING + name: one.heads["embedding"] for name, one in outputs.items() if "embedding" in one.heads
    }


def score_pairs(detect: Detect) -> Callable[[Any, dict], dict]:
    """``(variables, batch with image and forged) -> rows`` scored as "real" and "image".

    Of a detector with a head ``mask`` also MAP + name, (B, h, w) or (B, T, h, w) in [0, 1]: what it takes for altered.
    """

    def pairs(variables: Any, batch: dict) -> dict:
        look = detect(variables)
        outputs = {"real": look(to_unit(batch["image"])), "image": look(to_unit(batch["forged"]))}
        masks = {name: one.heads["mask"][..., 0] for name, one in outputs.items() if "mask" in one.heads}
        maps = {MAP + name: jax.nn.sigmoid(mask.astype(jnp.float32)) for name, mask in masks.items()}
        return _scored(outputs) | maps

    return pairs


def score_faces(detect: Detect) -> Callable[[Any, dict], dict]:
    """``(variables, batch with image) -> rows`` scored as "image"."""
    return lambda variables, batch: _scored({"image": detect(variables)(to_unit(batch["image"]))})


def score_head(detect: Detect, name: str) -> Callable[[Any, dict], dict]:
    """``(variables, batch with image) -> rows`` that hold the head ``name`` of each face, float32."""
    return lambda variables, batch: {name: detect(variables)(to_unit(batch["image"])).heads[name].astype(jnp.float32)}


def score_forged(detect: Detect, forgery: DeviceForgery, seed: int) -> Callable[[Any, dict], dict]:
    """``({"detector", "forgery"}, batch with image and row) -> rows``: faces, the stages of their fakes, and the fakes.

    Besides margins and embeddings of "real", each stage and "image", the rows hold their pictures, uint8, and the PSNR
    of each against the face, dB. seed: together with ``row`` the key of a face's draws.
    """

    def forged(placed: Any, batch: dict) -> dict:
        images, look = to_unit(batch["image"]), detect(placed["detector"])
        keys = jax.vmap(lambda row: jax.random.fold_in(jax.random.key(seed), row))(batch["row"])
        step = jnp.int32(_AFTER_TRAINING)
        scene = Scene(lambda x: look(x).logits, images, placed["forgery"], step, False, stages=True)
        made = forge_rows(forgery, keys, scene)
        views = {"real": images if made.real is None else made.real, **made.stages, "image": made.image}
        pictures = {name: _to_bytes(view) for name, view in views.items()}
        found = {PICTURE + name: picture for name, picture in pictures.items()}
        for name, picture in pictures.items():
            error = jnp.square((picture.astype(jnp.float32) - pictures["real"].astype(jnp.float32)) / 255.0)
            found[PSNR + name] = -10.0 * jnp.log10(jnp.mean(error, axis=tuple(range(1, error.ndim))))
        return found | _scored({name: look(view) for name, view in views.items()})

    return forged


def _to_bytes(image: jax.Array) -> jax.Array:
    return jnp.clip(image * 255.0 + 0.5, 0, 255).astype(jnp.uint8)


def collect(batches: Iterable[dict], run: Callable[[dict], dict], pictures: int | None = 0) -> dict[str, np.ndarray]:
    """Runs ``run`` on the batches and joins the rows, without padding.

    pictures: number of faces whose pictures are copied from the devices; None: all.
    """
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    have = 0
    for batch in batches:
        keep = batch.pop("weight") > 0
        for name, values in run(batch).items():
            if not name.startswith(PICTURE) or pictures is None or have < pictures:
                found[name].append(np.asarray(values)[keep])
        have += int(keep.sum())
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    if pictures is None:
        return joined
    return {name: rows[:pictures] if name.startswith(PICTURE) else rows for name, rows in joined.items()}
