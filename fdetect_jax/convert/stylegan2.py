"""StyleGAN2 between NVlabs' modules, rosinality's state dicts and our variables.

Keys here are NVlabs' (stylegan2-ada-pytorch); rosinality's are derived from them, and differ in name and shape alone.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from fdetect_jax.convert.checkpoint import module_at, module_state, state_dict
from fdetect_jax.convert.layout import (
    CONV,
    DENSE,
    Fixed,
    Layout,
    Pair,
    Row,
    State,
    Variables,
    check_shapes,
    check_variables,
    from_state,
    image_input,
    reshaped,
    to_state,
    under,
)
from fdetect_jax.convert.pickles import Persistent
from fdetect_jax.convert.tensors import CheckpointError, brief
from fdetect_jax.fields import from_fields
from fdetect_jax.gan.discriminator import Discriminator, DiscriminatorConfig
from fdetect_jax.gan.stylegan2 import RESOLUTIONS, Generator, GeneratorConfig, layer_specs

LAYOUTS = ("nvlabs", "rosinality")
MEAN_SAMPLES = 10_000
_WHOLE_BATCH = 1 << 30  # a group that no batch fills
_FIR = (np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64).astype(np.float32)
_CONST = Layout(lambda a: a.transpose(1, 2, 0), lambda a: a.transpose(2, 0, 1))


def _dense(size: int) -> Layout:
    """The last dense layers of D: inputs counted (C, 4, 4) there, (4, 4, C) here."""
    return Layout(
        lambda a: a.reshape(-1, size, 4, 4).transpose(2, 3, 1, 0).reshape(16 * size, -1),
        lambda a: a.reshape(4, 4, size, -1).transpose(3, 2, 0, 1).reshape(-1, 16 * size),
    )


def generator_rows(config: GeneratorConfig) -> Iterator[Row]:
    """Every array of G under NVlabs' names."""
    for i in range(config.mapping_layers):
        yield Pair(f"mapping.fc{i}.weight", ("params", "mapping", f"fc{i}", "weight"), DENSE)
        yield Pair(f"mapping.fc{i}.bias", ("params", "mapping", f"fc{i}", "bias"))
    yield Pair("mapping.w_avg", ("buffers", "mapping", "w_avg"))
    yield Pair("synthesis.b4.const", ("params", "synthesis", "const"), _CONST)
    for spec in layer_specs(config):
        block, name = spec.name.split("_")
        there, here = f"synthesis.{block}.{name}", ("synthesis", spec.name)
        yield Pair(f"{there}.weight", ("params", *here, "weight"), CONV)
        yield Pair(f"{there}.bias", ("params", *here, "bias"))
        yield Pair(f"{there}.affine.weight", ("params", *here, "affine", "weight"), DENSE)
        yield Pair(f"{there}.affine.bias", ("params", *here, "affine", "bias"))
        if name != "torgb":
            yield Pair(f"{there}.noise_strength", ("params", *here, "noise_strength"))
            yield Pair(f"{there}.noise_const", ("buffers", *here, "noise_const"))
            yield Fixed(f"{there}.resample_filter", _FIR)
    for r in config.block_resolutions:
        yield Fixed(f"synthesis.b{r}.resample_filter", _FIR)


def discriminator_rows(config: DiscriminatorConfig) -> Iterator[Row]:
    """Every array of D under NVlabs' names."""

    def conv(there: str, here: str, bias: bool = True) -> Iterator[Row]:
        yield Pair(f"{there}.weight", ("params", here, "weight"), CONV)
        if bias:
            yield Pair(f"{there}.bias", ("params", here, "bias"))

    r = config.resolution
    yield from conv(f"b{r}.fromrgb", f"b{r}_fromrgb")
    yield Fixed(f"b{r}.fromrgb.resample_filter", _FIR)
    while r > 4:
        for name, bias in (("conv0", True), ("conv1", True), ("skip", False)):
            yield from conv(f"b{r}.{name}", f"b{r}_{name}", bias)
            yield Fixed(f"b{r}.{name}.resample_filter", _FIR)
        yield Fixed(f"b{r}.resample_filter", _FIR)
        r //= 2
    yield from conv("b4.conv", "b4_conv")
    yield Fixed("b4.conv.resample_filter", _FIR)
    for name, layout in (("fc", _dense(config.channels(4))), ("out", DENSE)):
        yield Pair(f"b4.{name}.weight", ("params", f"b4_{name}", "weight"), layout)
        yield Pair(f"b4.{name}.bias", ("params", f"b4_{name}", "bias"))


def rosinality_generator_rows(config: GeneratorConfig) -> Iterator[Row]:
    """`generator_rows` under rosinality's names; the mean latent lies beside its state dict."""
    numbers = {spec.name: i for i, spec in enumerate(s for s in layer_specs(config) if s.kernel == 3)}

    def layer(block: str, name: str) -> str:
        i = int(math.log2(int(block[1:]))) - 3
        if name == "torgb":
            return "to_rgb1" if i < 0 else f"to_rgbs.{i}"
        return "conv1" if i < 0 else f"convs.{2 * i + int(name[-1])}"

    for row in generator_rows(config):
        parts = row.key.split(".")
        if parts[0] == "mapping":
            if parts[1] != "w_avg":
                yield row._replace(key=f"style.{int(parts[1][2:]) + 1}.{parts[2]}")
            continue
        if parts[2] == "const":
            yield row._replace(key="input.input", layout=_through(_batched(3), _CONST))
        if len(parts) < 4:
            continue
        there, entry = layer(parts[1], parts[2]), ".".join(parts[3:])
        if entry == "weight":
            yield row._replace(key=f"{there}.conv.weight", layout=_through(_batched(4), CONV))
        elif entry.startswith("affine"):
            yield row._replace(key=f"{there}.conv.modulation.{parts[4]}")
        elif entry == "noise_strength":
            yield row._replace(key=f"{there}.noise.weight", layout=reshaped((), (1,)))
        elif entry == "noise_const":
            size = int(parts[1][1:])
            number = numbers[f"{parts[1]}_{parts[2]}"]
            yield row._replace(key=f"noises.noise_{number}", layout=reshaped((size, size), (1, 1, size, size)))
        elif entry == "bias" and parts[2] == "torgb":
            yield row._replace(key=f"{there}.bias", layout=reshaped((3,), (1, 3, 1, 1)))
        elif entry == "bias":
            yield row._replace(key=f"{there}.activate.bias")
    for i in range(len(config.block_resolutions) - 1):
        yield Fixed(f"convs.{2 * i}.conv.blur.kernel", 4 * _FIR)
        yield Fixed(f"to_rgbs.{i}.upsample.kernel", 4 * _FIR)


def rosinality_discriminator_rows(config: DiscriminatorConfig) -> Iterator[Row]:
    """`discriminator_rows` under rosinality's names."""
    top = int(math.log2(config.resolution))
    layers = {"conv0": "conv1.{}", "conv1": "conv2.{}", "skip": "skip.{}"}
    names = {"b4.conv": "final_conv.{}", "b4.fc": "final_linear.0", "b4.out": "final_linear.1"}
    for row in discriminator_rows(config):
        if isinstance(row, Fixed):
            continue
        layer, _, entry = row.key.rpartition(".")
        block, name = layer.split(".")
        if layer in names:
            there = names[layer]
        elif name == "fromrgb":
            there = "convs.0.{}"
        else:
            there = f"convs.{top - int(math.log2(int(block[1:]))) + 1}.{layers[name]}"
        weight = 1 if name in ("conv1", "skip") and block != "b4" else 0
        there = there.format(weight if entry == "weight" else weight + 1)
        yield row._replace(key=f"{there}.{entry}")
    for k in range(1, top - 1):
        yield Fixed(f"convs.{k}.conv2.0.kernel", _FIR)
        yield Fixed(f"convs.{k}.skip.0.kernel", _FIR)


def _batched(rank: int) -> Layout:
    """An array of this rank with one more axis of length 1 in front, elsewhere."""

    def ours(a: np.ndarray) -> np.ndarray:
        if a.ndim != rank + 1 or a.shape[0] != 1:
            raise ValueError
        return a[0]

    return Layout(ours, lambda a: a[None])


def _through(first: Layout, second: Layout) -> Layout:
    return Layout(lambda a: second.ours(first.ours(a)), lambda a: first.theirs(second.theirs(a)))


def convert(found: Any) -> tuple[dict, Variables, str]:
    """({"generator": fields, …}, {"generator": variables, …}, layout); "discriminator" where the file has one.

    found: what `read_checkpoint` gave for an NVlabs pickle (`G_ema`, `D`) or a rosinality checkpoint (`g_ema`,
    `latent_avg`, `d`). Without a `latent_avg` the mean of 10,000 mapped latents is taken.

    Raises:
      CheckpointError: it holds no StyleGAN2, another network than StyleGAN2's, or not a whole one.
    """
    if isinstance(found, tuple | list):
        raise CheckpointError("found a tuple, as TensorFlow's pickles are; wanted one that stylegan2-ada-pytorch wrote")
    if not isinstance(found, dict):
        raise CheckpointError(f"found {type(found).__name__}, wanted NVlabs' G_ema or rosinality's g_ema")
    if isinstance(found.get("G_ema"), Persistent):
        return _from_nvlabs(found)
    if isinstance(found.get("g_ema"), dict):
        return _from_rosinality(found)
    keys = ", ".join(sorted(map(brief, found))[:12]) or "nothing"
    raise CheckpointError(f"found {keys}, wanted NVlabs' G_ema or rosinality's g_ema")


def _from_nvlabs(found: dict) -> tuple[dict, Variables, str]:
    module = found["G_ema"]
    configs, variables = {}, {}
    state = module_state(module, "G_ema")
    layer = _attributes("G_ema", module, "synthesis.b4.conv1", activation="lrelu", use_noise=True)
    clamp = _clamp(layer.get("conv_clamp"))
    config = _generator_config(state, "synthesis.b{}.conv1.weight", "mapping.fc{}.weight", clamp)
    variables["generator"] = _network("G_ema", state, list(generator_rows(config)), Generator(config), _latent(config))
    configs["generator"] = dataclasses.asdict(config)
    if isinstance(found.get("D"), Persistent):
        state = module_state(found["D"], "D")
        group = _attributes("D", found["D"], "b4.mbstd", num_channels=1).get("group_size")
        clamp = _clamp(_attributes("D", found["D"], "b4.conv", activation="lrelu").get("conv_clamp"))
        d_config = _discriminator_config(state, config.resolution, "b{}.conv0.weight", "b4.fc.weight", group, clamp)
        d_rows = list(discriminator_rows(d_config))
        variables["discriminator"] = _network(
            "D", state, d_rows, Discriminator(d_config), image_input(config.resolution)
        )
        configs["discriminator"] = dataclasses.asdict(d_config)
    return configs, variables, "nvlabs"


def _from_rosinality(found: dict) -> tuple[dict, Variables, str]:
    state = state_dict(found["g_ema"], "g_ema")
    config = _generator_config(_as_nvlabs(state), "b{}", "style.{}.weight", None)
    table = list(rosinality_generator_rows(config))
    generator = from_state("g_ema", state, table)
    generator["buffers"]["mapping"] = {"w_avg": _mean_latent(config, generator, found.get("latent_avg"))}
    table.append(Pair("latent_avg", ("buffers", "mapping", "w_avg")))
    check_shapes("g_ema", generator, table, Generator(config), _latent(config))
    configs, variables = {"generator": dataclasses.asdict(config)}, {"generator": generator}
    if isinstance(found.get("d"), dict):
        state = state_dict(found["d"], "d")
        top = int(math.log2(config.resolution))
        named = {f"b{2**i}.conv0.weight": state.get(f"convs.{top - i + 1}.conv1.0.weight") for i in range(3, top + 1)}
        named = {key: value for key, value in named.items() if value is not None}
        named["b4.fc.weight"] = state.get("final_linear.0.weight", np.zeros((0, 0)))
        d_config = _discriminator_config(named, config.resolution, "b{}.conv0.weight", "b4.fc.weight", 4, None)
        d_rows = list(rosinality_discriminator_rows(d_config))
        variables["discriminator"] = _network(
            "d", state, d_rows, Discriminator(d_config), image_input(config.resolution)
        )
        configs["discriminator"] = dataclasses.asdict(d_config)
    return configs, variables, "rosinality"


def export(configs: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """Flat state: "G_ema.…" and "D.…" of NVlabs, or "g_ema.…", "d.…" and "latent_avg" of rosinality."""
    g_rows, d_rows = {
        "nvlabs": (generator_rows, discriminator_rows),
        "rosinality": (rosinality_generator_rows, rosinality_discriminator_rows),
    }[layout]
    g, d = ("G_ema.", "D.") if layout == "nvlabs" else ("g_ema.", "d.")
    config = our_generator(configs, variables)
    table = list(under(g, g_rows(config), "generator"))
    if layout == "rosinality":
        table.append(Pair("latent_avg", ("buffers", "generator", "mapping", "w_avg")))
    if "discriminator" in configs:
        d_config = from_fields(DiscriminatorConfig, configs["discriminator"], "discriminator")
        check_variables(
            "discriminator", Discriminator(d_config), variables.get("discriminator"), image_input(config.resolution)
        )
        table += under(d, d_rows(d_config), "discriminator")
    collections: Variables = {}
    for part, trees in variables.items():
        for collection, tree in trees.items():
            collections.setdefault(collection, {})[part] = tree
    return to_state("variables of a StyleGAN2", collections, table)


def our_generator(configs: dict, variables: Variables) -> GeneratorConfig:
    """The architecture of the generator in a file of ours. Raises UserError where its arrays are not those of it."""
    config = from_fields(GeneratorConfig, configs.get("generator"), "generator")
    check_variables("generator", Generator(config), variables.get("generator"), _latent(config))
    return config


def _network(what: str, state: State, table: list[Row], module: Any, *inputs: Any) -> Variables:
    variables = from_state(what, state, table)
    check_shapes(what, variables, table, module, *inputs)
    return variables


def _latent(config: GeneratorConfig) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, config.z_dim), np.float32)


def _as_nvlabs(state: State) -> State:
    """The few rosinality arrays that determine the architecture, by names that count resolutions."""
    out = dict(state)
    if "conv1.conv.weight" in state:
        out["b4"] = state["conv1.conv.weight"]
    i = 0
    while (key := f"convs.{2 * i + 1}.conv.weight") in state:
        out[f"b{2 ** (i + 3)}"] = state[key]
        i += 1
    layers = 1
    while f"style.{layers}.weight" in state:
        out[f"style.{layers - 1}.weight"] = state[f"style.{layers}.weight"]
        layers += 1
    return {key: value for key, value in out.items() if key != f"style.{layers - 1}.weight"}


def _generator_config(state: State, block: str, layer: str, clamp: float | None) -> GeneratorConfig:
    """The architecture of these arrays."""
    blocks = [r for r in (4, 8, 16, *RESOLUTIONS) if block.format(r) in state]
    layers = 0
    while layer.format(layers) in state:
        layers += 1
    if not blocks or blocks[-1] not in RESOLUTIONS or not layers:
        found = f"blocks of {blocks} pixels and {layers} layers of the mapping"
        raise CheckpointError(f"found {found}, wanted a StyleGAN2 of {RESOLUTIONS} pixels")
    widths = {r: state[block.format(r)].shape[-4] if len(state[block.format(r)].shape) > 3 else 0 for r in blocks}
    first = state[layer.format(0)].shape
    last = state[layer.format(layers - 1)].shape
    return GeneratorConfig(
        resolution=blocks[-1],
        z_dim=first[-1] if first else 0,
        w_dim=last[0] if last else 0,
        mapping_layers=layers,
        channel_base=blocks[-1] * widths[blocks[-1]],
        channel_max=widths.get(4, 512),
        conv_clamp=clamp,
    )


def _discriminator_config(
    state: State, resolution: int, block: str, fc: str, group: Any, clamp: float | None
) -> DiscriminatorConfig:
    found = state.get(block.format(resolution))
    width = found.shape[0] if found is not None and found.shape else 0
    last = state[fc].shape if fc in state else ()
    return DiscriminatorConfig(
        resolution=resolution,
        channel_base=resolution * width,
        channel_max=last[0] if last else 512,
        group_size=group if isinstance(group, int) else _WHOLE_BATCH,
        conv_clamp=clamp,
    )


def _attributes(what: str, module: Persistent, path: str, **wanted: Any) -> dict:
    """The attributes of a sub-module; CheckpointError where one that is there differs from what is wanted."""
    found = module_at(module, path)
    for name, value in wanted.items():
        if name in found and found[name] != value:
            raise CheckpointError(f"{what}.{path}: found {name} {brief(found[name])}, wanted {value!r}")
    return found


def _clamp(found: Any) -> float | None:
    return float(found) if isinstance(found, int | float) else None


def _mean_latent(config: GeneratorConfig, generator: Variables, found: Any) -> np.ndarray:
    """The file's mean latent, or that of `MEAN_SAMPLES` random ones."""
    if found is not None:
        return from_state("latent_avg", {"latent_avg": found}, [Pair("latent_avg", ("w",), reshaped((-1,), (-1,)))])[
            "w"
        ]
    module = Generator(config)
    z = jax.random.normal(jax.random.key(0), (MEAN_SAMPLES, config.z_dim))
    variables = {"params": generator["params"], "buffers": {"mapping": {"w_avg": np.zeros(config.w_dim, np.float32)}}}
    return np.asarray(module.apply(variables, z, method=Generator.map).mean(0))
