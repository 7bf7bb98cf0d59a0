"""A public checkpoint in, a safetensors file that describes itself out, and back.

`convert` works in a child process, so this file imports no JAX.
"""

import importlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fdetect_jax.convert.checkpoint import file_size
from fdetect_jax.convert.child import Job, set_limits, work
from fdetect_jax.convert.kinds import CONVERTERS, SECONDS, Converter, names
from fdetect_jax.convert.tensors import CheckpointError, brief
from fdetect_jax.errors import UserError
from fdetect_jax.files import check_output, write_atomic
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected

_MEMORY, _MEMORY_PER_BYTE = 8 << 30, 12  # B7 in float32 took 0.5 GB and 5 bytes a byte; half precision takes twice that


def convert(
    kind: str,
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    licence: str = "",
    seconds: float = SECONDS,
    memory: int | None = None,
    weights_key: str | None = None,
    **options: str | os.PathLike | None,
) -> None:
    """Reads a public checkpoint, checks every array of it, and writes it as float32 safetensors.

    A child process does the work, so that a file which exhausts memory or crashes its reader does no harm here.

    Args:
      kind: one of `CONVERTERS`.
      source: the checkpoint: PyTorch's zip or older format, an NVlabs pickle, safetensors of a state dict, or
        Keras' HDF5 weights.
      output: the file to write, `*.safetensors`.
      licence: the licence of the weights, kept in the file.
      seconds: the conversion may take; the start of its process is not counted.
      memory: bytes of address space it may use, on Linux; None: 8 GiB and 12 times the size of the checkpoints.
      weights_key: which weights of a checkpoint with several to take, "state_dict" or another; None: averaged ones
        before others. The output's metadata says which.
      options: the kind's own; one that is None is not given. "hyperinverter" needs `generator`, the path of its
        StyleGAN2 (an NVlabs or rosinality checkpoint, or what "stylegan2" wrote), "classnseg" `decoder`, the file of
        its decoder. "efficientnet" takes `normalization` of the input: "imagenet", "half" or "none"; without it, "none"
        for SBI's layout and "imagenet" for others. "capsule" needs `trunk`, the path of torchvision's VGG-19, and takes
        `real_class`, "0" or "1"; without it, "1" for version 1 and "0" for version 2. "ffd" with map type
        "tmp" needs `templates`, the folder of its templates.

    Raises:
      UserError: an argument is wrong; or `CheckpointError`, which names the file: it is not what it should be (with
        the keys that are missing, extra or of another shape), or the child died or took too long. Nothing is written
        then.
    """
    converter = _converter(kind)
    if weights_key is not None and not converter.keyed:
        raise UserError(f"weights_key: found {weights_key!r}, wanted none for kind {kind!r}")
    given = {name: os.fspath(value) for name, value in options.items() if value is not None}
    _check_options(kind, converter, given)
    inputs = [os.fspath(source), *(given[name] for name in converter.files)]
    _check_output(output, *inputs)
    size = sum(map(file_size, inputs))
    memory = _MEMORY + _MEMORY_PER_BYTE * size if memory is None else memory
    output = Path(output)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        made = Path(folder) / output.name
        job = Job(kind, converter, inputs[0], given, licence, str(made), weights_key)
        try:
            (failure,) = run_isolated(
                work, [job], workers=1, seconds=seconds, initializer=set_limits, initargs=(memory,)
            )
        except RuntimeError as error:
            raise UserError(f"{source}: the process that converts it does not start ({error})") from error
        if isinstance(failure, Rejected):
            raise CheckpointError(f"{source}: cannot be converted: {failure.reason}")
        if failure is not None:
            raise failure
        os.replace(made, output)


def export(path: str | os.PathLike, output: str | os.PathLike, layout: str | None = None) -> None:
    """Writes converted weights under their original's key names, as safetensors for `load_state_dict`.

    Args:
      path: what `convert` wrote.
      output: the file to write, `*.safetensors`.
      layout: one of the kind's layouts; None: the one it came from.

    Raises:
      UserError: not a converted file, or a layout that its kind does not have.
    """
    import numpy as np
    from safetensors.numpy import save

    from fdetect_jax import weights

    _check_output(output, path)
    config, variables, metadata = weights.read(path)
    kind = metadata.get("converter", metadata["kind"])
    if kind not in CONVERTERS:
        raise UserError(f"{path}: found weights of kind {kind!r:.200}, wanted one of {names()}")
    module = importlib.import_module(CONVERTERS[kind].module)
    layout = layout or metadata.get("layout")
    if layout not in module.LAYOUTS:
        raise UserError(f"{path}: found layout {layout!r:.200} of kind {kind!r}, wanted one of {module.LAYOUTS}")
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: found the config {brief(config)}, wanted the fields of kind {kind!r}")
    try:
        state = module.export(config, variables, layout)
    except UserError as error:
        raise CheckpointError(f"{path}: {error}") from None
    state = {key: np.array(value, order="C") for key, value in state.items()}
    write_atomic(output, save(state, {"format": "pt", "layout": layout}))


def _converter(kind: str) -> Converter:
    if kind not in CONVERTERS:
        raise UserError(f"kind: found {kind!r}, wanted one of {names()}")
    return CONVERTERS[kind]


def _check_options(kind: str, converter: Converter, given: Mapping[str, str]) -> None:
    for name, value in given.items():
        if not any(name in known for known in (converter.files, converter.choices, converter.paths)):
            raise UserError(f"{name}: found {value!r}, wanted none for kind {kind!r}")
        if name in converter.choices and value not in converter.choices[name]:
            raise UserError(f"{name}: found {value!r}, wanted one of {converter.choices[name]}")
    for name, what in converter.files.items():
        if name not in given:
            raise UserError(f"{name}: found None, wanted {what}")


def _check_output(output: str | os.PathLike, *inputs: str | os.PathLike) -> None:
    path = Path(output)
    if path.suffix != ".safetensors":
        raise UserError(f"output: found {str(path)!r}, wanted a name that ends in .safetensors")
    if not path.parent.is_dir():
        raise UserError(f"output: found no folder {str(path.parent)!r}")
    check_output(path, "output")
    for source in inputs:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise UserError(f"output: found the input itself, {str(path)!r}, wanted another file")
