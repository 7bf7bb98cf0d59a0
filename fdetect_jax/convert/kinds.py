"""What can be converted: a public checkpoint in, a safetensors file that describes itself out, and back."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from fdetect_jax import weights
from fdetect_jax.convert import efficientnet, hyperinverter, ir_se50, stylegan2
from fdetect_jax.convert.checkpoint import read_checkpoint, sha256, state_dict
from fdetect_jax.convert.layout import Variables
from fdetect_jax.convert.pickles import CheckpointError
from fdetect_jax.errors import UserError
from fdetect_jax.files import write_atomic
from fdetect_jax.gan.stylegan2 import GeneratorConfig

KINDS = ("efficientnet", "stylegan2", "hyperinverter", "ir_se50")
LAYOUTS = {
    "efficientnet": efficientnet.LAYOUTS,
    "stylegan2": stylegan2.LAYOUTS,
    "hyperinverter": ("vinai",),
    "ir_se50": ("insightface",),
}


def convert(
    kind: str,
    source: str | os.PathLike,
    output: str | os.PathLike,
    generator: str | os.PathLike | None = None,
    normalization: str | None = None,
    licence: str = "",
) -> None:
    """Reads a public checkpoint, checks every array of it, and writes it as float32 safetensors.

    Args:
      kind: one of `KINDS`.
      source: the checkpoint: PyTorch's zip or older format, an NVlabs pickle, or safetensors of a state dict.
      output: the file to write, `*.safetensors`.
      generator: for "hyperinverter", its StyleGAN2: an NVlabs or rosinality checkpoint, or what "stylegan2" wrote.
      normalization: for "efficientnet", of the input: "imagenet", "half" or "none"; None: "none" for SBI's layout,
        else "imagenet".
      licence: what the file says of its licence.

    Raises:
      ValueError: an argument is wrong, or a file is not what it should be (`CheckpointError`, which names the file,
        and the keys that are missing, extra or of another shape). Nothing is written then.
    """
    if kind not in KINDS:
        raise UserError(f"kind: found {kind!r}, wanted one of {KINDS}")
    if normalization is not None and kind != "efficientnet":
        raise UserError(f"normalization: found {normalization!r}, wanted none for kind {kind!r}")
    if (generator is not None) != (kind == "hyperinverter"):
        wanted = "the StyleGAN2 checkpoint it was made for" if kind == "hyperinverter" else f"none for kind {kind!r}"
        raise UserError(f"generator: found {generator!r}, wanted {wanted}")
    _check_output(output, source, generator)
    notes = {"source": Path(source).name, "source_sha256": ""}
    try:
        config, variables, notes["layout"] = _read(kind, source, generator, normalization)
    except CheckpointError as error:
        prefix = "" if str(error).startswith((str(source), str(generator))) else f"{source}: "
        raise CheckpointError(f"{prefix}{error}") from None
    notes["source_sha256"] = sha256(source)
    if generator is not None:
        notes |= {"generator_source": Path(generator).name, "generator_sha256": sha256(generator)}
    weights.save(output, kind, config, variables, licence=licence or "not stated", **notes)


def _check_output(output: str | os.PathLike, *inputs: str | os.PathLike | None) -> None:
    path = Path(output)
    if path.suffix != ".safetensors":
        raise UserError(f"output: found {str(path)!r}, wanted a name that ends in .safetensors")
    if not path.parent.is_dir():
        raise UserError(f"output: found no folder {str(path.parent)!r}")
    for source in inputs:
        if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
            raise UserError(f"output: found the input itself, {str(path)!r}, wanted another file")


def _read(kind: str, source: Any, generator: Any, normalization: str | None) -> tuple[dict, Variables, str]:
    found = read_checkpoint(source)
    if kind == "stylegan2":
        return stylegan2.convert(found)
    state = state_dict(found, "checkpoint", efficientnet.WRAPPERS)
    if kind == "efficientnet":
        return efficientnet.convert(state, normalization)
    if kind == "ir_se50":
        return {}, ir_se50.convert(state), "insightface"
    g_config, g_variables = _generator(generator)
    configs, variables = hyperinverter.convert(state, GeneratorConfig(**g_config))
    return {"generator": g_config, **configs}, {"generator": g_variables, **variables}, "vinai"


def _generator(path: str | os.PathLike) -> tuple[dict, Variables]:
    """G's config and variables, from a public checkpoint or from a file of ours."""
    try:
        config, variables, _ = weights.read(path, "stylegan2")
    except weights.WeightsError:
        try:
            config, variables, _ = stylegan2.convert(read_checkpoint(path))
        except CheckpointError as error:
            text = str(error)
            raise CheckpointError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    return config["generator"], variables["generator"]


def export(path: str | os.PathLike, output: str | os.PathLike, layout: str | None = None) -> None:
    """Writes converted weights under their original's key names, as safetensors for `load_state_dict`.

    Args:
      path: what `convert` wrote.
      output: the file to write, `*.safetensors`.
      layout: one of `LAYOUTS[kind]`; None: the one it came from.

    Raises:
      ValueError: not a converted file, or a layout that its kind does not have.
    """
    _check_output(output, path)
    config, variables, metadata = weights.read(path)
    kind = metadata["kind"]
    layout = layout or metadata.get("layout")
    if layout not in LAYOUTS.get(kind, ()):
        wanted = f"one of {LAYOUTS[kind]}" if kind in LAYOUTS else f"weights of one of the kinds {KINDS}"
        raise UserError(f"{path}: found layout {layout!r} of kind {kind!r}, wanted {wanted}")
    if kind == "efficientnet":
        state = efficientnet.export(config, variables, layout)
    elif kind == "stylegan2":
        state = stylegan2.export(config, variables, layout)
    elif kind == "hyperinverter":
        state = hyperinverter.export(config, variables)
    else:
        state = ir_se50.export(variables)
    state = {key: np.array(value, order="C") for key, value in state.items()}
    write_atomic(output, save(state, {"format": "pt", "layout": layout}))
