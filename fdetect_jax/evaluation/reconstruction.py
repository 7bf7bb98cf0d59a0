"""How well faces are reconstructed: held-out faces in, images, PSNR and SSIM of each out."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fdetect_jax import parallel
from fdetect_jax.data import pipeline
from fdetect_jax.data.source import Source
from fdetect_jax.evaluation.metrics import psnr, ssim
from fdetect_jax.forgery.latent import fit
from fdetect_jax.gan.inversion import Inverter
from fdetect_jax.gan.stylegan2 import truncate
from fdetect_jax.report.gallery import difference
from fdetect_jax.types import to_unit

Compile = Callable[[Callable], Callable]


def measure(
    networks: Inverter,
    variables: Any,
    source: Source,
    limit: int = 400,
    batch_size: int = 32,
    compiled: Compile = jax.jit,
    size: int | None = None,
    shown: int = 8,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Reconstructs faces with E alone and, where the inverter has H, with E and H.

    Args:
      source, limit: so many of its faces, drawn over people.
      compiled: makes ``function(variables, batch) -> rows`` fast; ``jax.jit``, or parallel over devices.
      size: of a detector's input, pixels: measures what ``forgery.latent.render=fit`` changes there.
      shown: how many faces come back as pictures.

    Returns:
      Mean ``psnr/encoder`` (dB), ``ssim/encoder`` and the same of ``hyper``; with ``size``, ``psnr/fit``, of faces
      rendered at the next resolution above it against whole ones, both resized to it; and pictures by column,
      (shown, S, S, 3) uint8.
    """
    resolution = None if size is None else networks.generator.config.resolution_for(size)

    def invert(variables: Any, batch: dict) -> dict[str, jax.Array]:
        found = networks.invert(variables, to_unit(batch["image"]))
        made = {"encoder": networks.render(variables, found.w), "hyper": found.image}
        if networks.hyper is None:
            del made["hyper"]
        if size is not None:
            early = networks.render(variables, found.w, found.offsets, resolution)
            made |= {"whole": fit(found.image, size), "fit": fit(early, size)}
        return made

    run, figures, have = compiled(invert), defaultdict(list), 0
    columns: dict[str, list[np.ndarray]] = defaultdict(list)
    chosen = pipeline.chosen_faces(source, limit)
    own = parallel.own_rows(len(chosen))  # every process measures its share
    for batch in pipeline.eval_batches(source, chosen, batch_size, places=own):
        keep = batch["weight"] > 0
        faces = batch["image"][keep]
        made = {name: np.asarray(x)[keep] for name, x in run(variables, {"image": batch["image"]}).items()}
        for name in ("encoder", "hyper"):
            if name in made:
                figures[f"psnr/{name}"].append(psnr(faces / 255.0, made[name]))
                figures[f"ssim/{name}"].append(ssim(faces / 255.0, made[name]))
        if size is not None:
            figures["psnr/fit"].append(psnr(made["whole"], made["fit"]))
        if have < shown:
            columns["real"].append(faces)
            for name, title in (("encoder", "E"), ("hyper", "E + H")):
                if name in made:
                    columns[title].append(to_bytes(made[name]))
        have += len(faces)
    measured = {name: np.concatenate(parts) for name, parts in figures.items()}
    figures = parallel.gathered(measured, len(chosen))
    pictures = {name: np.concatenate(parts)[:shown] for name, parts in columns.items()}
    pictures = {name: rows[:shown] for name, rows in parallel.gathered(pictures, len(chosen)).items()}
    pictures["difference ×4"] = difference(pictures["real"], pictures["E + H" if "E + H" in pictures else "E"], 4.0)
    return {name: float(np.mean(rows)) for name, rows in figures.items()}, pictures


def samples(
    networks: Inverter, variables: Any, count: int, seed: int, truncations: tuple[float, ...] = (0.5, 0.7, 1.0)
) -> dict[str, np.ndarray]:
    """Random faces of G, one column per truncation ψ: "ψ = 0.7" -> (count, R, R, 3) uint8."""
    z = np.random.default_rng(seed).standard_normal((count, networks.generator.config.z_dim)).astype(np.float32)
    w_avg = variables["generator"]["buffers"]["mapping"]["w_avg"]
    w = networks.map(variables, z)
    render = jax.jit(networks.render)
    return {f"ψ = {psi}": to_bytes(render(variables, truncate(w, w_avg, psi))) for psi in truncations}


def to_bytes(image: np.ndarray) -> np.ndarray:
    """float [0, 1] -> uint8, rounded."""
    return np.clip(np.asarray(image) * 255.0 + 0.5, 0, 255).astype(np.uint8)
