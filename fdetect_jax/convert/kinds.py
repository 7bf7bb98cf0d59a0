"""The registry of what can be converted: a converter is one file and one line of `CONVERTERS`.

Imports nothing, because the command line reads it for its help.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

SECONDS = 600.0  # a conversion may take


@dataclass(frozen=True)
class Converter:
    """How one kind of checkpoint is converted.

    module: the module's full name; it is imported when it is needed, and has
      `LAYOUTS`, the names of the layouts of the original,
      `convert(found, **options) -> (config, variables, layout)`, where found is what `read_checkpoint` gives; it raises
        CheckpointError where that is not what it should be,
      `export(config, variables, layout) -> state dict`, arrays by their original's names.
    choices: options of `convert` that may be given, and their values.
    files: options of `convert` that must be given and are paths of further checkpoints, and what these are.
    paths: options of `convert` that may be given and are paths that it reads itself, and what these are.
    keyed: whether a checkpoint may keep several weights of the network under keys, to choose from.
    detector: whether it makes a detector of the registry, whose config is its name and overrides. size: pixels of its
      crops, kept in the file; by the detector's name where they differ.
    """

    module: str
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    keyed: bool = True
    detector: bool = False
    size: str | Mapping[str, str] = ""


CONVERTERS = {
    "efficientnet": Converter(
        "fdetect_jax.convert.efficientnet", choices={"normalization": ("imagenet", "half", "none")}
    ),
    "efficientnet_lite": Converter("fdetect_jax.convert.efficientnet_lite"),
    "gan_fingerprints": Converter("fdetect_jax.convert.fingerprints", keyed=False, detector=True, size="128"),
    "stylegan2": Converter("fdetect_jax.convert.stylegan2", keyed=False),
    "hyperinverter": Converter(
        "fdetect_jax.convert.hyperinverter", files={"generator": "the StyleGAN2 checkpoint it was made for"}
    ),
    "ir_se50": Converter("fdetect_jax.convert.ir_se50"),
    "classnseg": Converter(
        "fdetect_jax.convert.classnseg",
        files={"decoder": "the decoder that was trained with the encoder"},
        keyed=False,
        detector=True,
        size="256",
    ),
    "mesonet": Converter("fdetect_jax.convert.mesonet", keyed=False, detector=True, size="256"),
    "fwa": Converter("fdetect_jax.convert.fwa", detector=True, size="224"),
    "resnet": Converter("fdetect_jax.convert.resnet", detector=True, size="224"),
    "capsule": Converter(
        "fdetect_jax.convert.capsule",
        choices={"real_class": ("0", "1")},
        files={"trunk": "torchvision's VGG-19"},
        detector=True,
        size={"capsule_v1": "128", "capsule_v2": "300"},
    ),
    "vgg": Converter("fdetect_jax.convert.vgg", detector=True, size="224"),
    "ffd": Converter(
        "fdetect_jax.convert.ffd",
        paths={"templates": "the folder of the templates that it was trained with"},
        detector=True,
        size="299",
    ),
    "xception": Converter("fdetect_jax.convert.xception", detector=True, size="299"),
}


def names() -> tuple[str, ...]:
    """The kinds of checkpoint that can be converted."""
    return tuple(CONVERTERS)
