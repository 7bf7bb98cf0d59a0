"""HyperInverter between the state dict of its authors (VinAIResearch) and our variables.

The file holds E1 (`w_encoder`), E2 (`w_bar_encoder`), the regressors (`hypernet`) and a discriminator; the generator
comes from a file of its own.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fdetect_jax import weights
from fdetect_jax.convert import stylegan2
from fdetect_jax.convert.checkpoint import network_state, read_checkpoint
from fdetect_jax.convert.ir_se50 import trunk_rows
from fdetect_jax.convert.layout import (
    CONV,
    DENSE,
    Pair,
    Row,
    State,
    Variables,
    batch_norm,
    check_shapes,
    check_variables,
    from_state,
    image_input,
    to_state,
    under,
)
from fdetect_jax.convert.tensors import CheckpointError, brief
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.gan.encoders import RESNET34, Encoder, EncoderConfig, TrunkConfig
from fdetect_jax.gan.hyperinverter import HyperConfig, HyperInverter
from fdetect_jax.gan.stylegan2 import GeneratorConfig, layer_specs

LAYOUTS = ("vinai",)
WHAT = "state dict of HyperInverter"


def _resnet_rows(config: TrunkConfig) -> Iterator[Row]:
    """A ResNet-34 trunk: `conv1`, `bn1`, `relu` (a PReLU) and `body`."""
    yield Pair("conv1.weight", ("params", "stem_conv", "kernel"), CONV)
    yield from batch_norm("bn1", "stem_bn")
    yield Pair("relu.weight", ("params", "stem_prelu", "slope"))
    index, width = 0, config.stem
    for features, units in config.stages:
        for _ in range(units):
            there, here = f"body.{index}", f"unit{index}"
            for i in (0, 1):
                yield Pair(f"{there}.conv{i + 1}.weight", ("params", here, f"conv{i}", "kernel"), CONV)
                yield from batch_norm(f"{there}.bn{i + 1}", here, f"bn{i}")
            if width != features:
                yield Pair(f"{there}.downsample.0.weight", ("params", here, "shortcut_conv", "kernel"), CONV)
                yield from batch_norm(f"{there}.downsample.1", here, "shortcut_bn")
            index, width = index + 1, features


def _trunk(config: TrunkConfig) -> Iterable[Row]:
    return under("", _resnet_rows(config) if config.unit == "basic" else trunk_rows(config), "trunk")


def _convolution(there: str, *here: str) -> Iterator[Row]:
    yield Pair(f"{there}.weight", ("params", *here, "kernel"), CONV)
    yield Pair(f"{there}.bias", ("params", *here, "bias"))


def encoder_rows(config: EncoderConfig) -> Iterator[Row]:
    """E1: a trunk and `linear`."""
    yield from _trunk(config.trunk)
    yield Pair("linear.weight", ("params", "linear", "weight"), DENSE)
    yield Pair("linear.bias", ("params", "linear", "bias"))


def hyper_rows(config: HyperConfig, generator: GeneratorConfig) -> Iterator[Row]:
    """E2 under `w_bar_encoder.` and the regressors under `hypernet.`."""
    yield from under("w_bar_encoder.", _trunk(config.trunk), "encoder")
    for i in (1, 2):
        yield from _convolution(f"w_bar_encoder.latlayer{i}", "encoder", f"lat{i}")
    for j in range(generator.num_ws):
        for i in range(1 if j < 3 else 2 if j < 7 else 3):
            yield from _convolution(f"w_bar_encoder.styles.{j}.convs.{2 * i}", "encoder", f"style{j}_conv{i}")
    for spec in layer_specs(generator):
        there = f"hypernet.weight_regressors.{spec.name}_weight"
        yield from _convolution(f"{there}.fusion.0", spec.name, "fusion")
        yield from _convolution(f"{there}.feature_extractor.0", spec.name, "feature0")
        for i in (1, 2, 3):
            yield Pair(f"{there}.feature_extractor.{2 * i}.weight", ("params", spec.name, f"feature{i}_kernel"), CONV)
            yield Pair(f"{there}.feature_extractor.{2 * i}.bias", ("params", spec.name, f"feature{i}_bias"))
        for name in ("w1", "b1", "w2", "b2"):
            yield Pair(f"{there}.{name}", ("params", spec.name, name))


def convert(found: Any, generator: str | os.PathLike) -> tuple[dict, Variables, str]:
    """(fields of the configs, variables, layout) of "encoder", "hyper" and "generator".

    generator: the file of the StyleGAN2 it was made for: a public checkpoint, or what a conversion wrote.

    Raises:
      CheckpointError: not a HyperInverter, not whole, or made for another generator; or the generator is not one.
    """
    state = network_state(found)
    g_config, g_variables = _generator(generator)
    configs, variables = _inverter(state, GeneratorConfig(**g_config))
    return {"generator": g_config, **configs}, {"generator": g_variables, **variables}, LAYOUTS[0]


def _generator(path: str | os.PathLike) -> tuple[dict, Variables]:
    """G's config and variables, from a public checkpoint or from a file of ours."""
    try:
        config, variables, _ = weights.read(path, "stylegan2")
        if not isinstance(config, dict):
            raise CheckpointError(f"{path}: found the config {brief(config)}, wanted the fields of a StyleGAN2")
    except weights.WeightsError:
        found = read_checkpoint(path)
        try:
            config, variables, _ = stylegan2.convert(found)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
    try:
        stylegan2.our_generator(config, variables)
    except UserError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return config["generator"], variables["generator"]


def _inverter(state: State, generator: GeneratorConfig) -> tuple[dict, Variables]:
    """Fields of the configs and variables of "encoder" and "hyper", for this generator."""
    state = {key: value for key, value in state.items() if not key.startswith("discriminator.")}
    last = f"hypernet.weight_regressors.{layer_specs(generator)[-1].name}_weight.w1"
    if last not in state:
        raise CheckpointError(
            f"{WHAT}: missing {last!r}, wanted one for a generator of {generator.resolution} pixels and toRGB kernels "
            "(opts.target_shape_name conv_without_bias)"
        )
    e_config = EncoderConfig(_kind(state, "w_encoder"), w_dim=generator.w_dim)
    shape = state[last].shape
    h_config = HyperConfig(_kind(state, "w_bar_encoder"), hidden=shape[0] if shape else 1)
    e_rows = list(under("w_encoder.", encoder_rows(e_config)))
    h_rows = list(hyper_rows(h_config, generator))
    both = from_state(WHAT, state, [*_part(e_rows, "encoder"), *_part(h_rows, "hyper")])
    variables = {part: {c: both[c][part] for c in ("params", "batch_stats")} for part in ("encoder", "hyper")}
    image = image_input(generator.resolution)
    check_shapes(WHAT, variables["encoder"], e_rows, Encoder(e_config), image)
    check_shapes(WHAT, variables["hyper"], h_rows, HyperInverter(h_config, generator), image, image)
    return {"encoder": dataclasses.asdict(e_config), "hyper": dataclasses.asdict(h_config)}, variables


def export(configs: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """E1, E2 and the regressors under the authors' keys; the generator is no part of their file."""
    generator = stylegan2.our_generator(configs, variables)
    e_config = from_fields(EncoderConfig, configs.get("encoder"), "encoder")
    h_config = from_fields(HyperConfig, configs.get("hyper"), "hyper")
    image = image_input(generator.resolution)
    check_variables("encoder", Encoder(e_config), variables.get("encoder"), image)
    check_variables("hyper", HyperInverter(h_config, generator), variables.get("hyper"), image, image)
    e_rows = under("w_encoder.", encoder_rows(e_config))
    h_rows = hyper_rows(h_config, generator)
    both = {c: {part: variables[part][c] for part in ("encoder", "hyper")} for c in ("params", "batch_stats")}
    return to_state("variables of HyperInverter", both, [*_part(e_rows, "encoder"), *_part(h_rows, "hyper")])


def _part(rows: Iterable[Row], part: str) -> Iterable[Row]:
    return under("", rows, part)


def _kind(state: State, part: str) -> TrunkConfig:
    """ResNet-34 or IR-SE50, by its first layer."""
    return RESNET34 if f"{part}.conv1.weight" in state else TrunkConfig()
