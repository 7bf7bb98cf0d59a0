"""The interface of a forgery: it makes a fake of a real face, on the host or the device; see ``Forgery``."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import flax.struct
import jax

from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.types import KINDS, ForgedPair, HostForgery, kind_number

Classify = Callable[[jax.Array], jax.Array]  # images (B, S, S, 3) in [0, 1] -> logits (B, K), in eval mode
PLACES = ("host", "device")
CROPS = ("face", "context")


@dataclasses.dataclass(frozen=True)
class Scene:
    """The input of a device forgery, inside a compiled function.

    classify: the detector with its current parameters. images: (B, S, S, 3) real faces in [0, 1]. frozen: the
    forgery's own ``frozen``, placed on the devices. step: of the training, () int32; in tests a very large one. logged:
    () bool, whether ``Forged.metrics`` is read. stages: whether ``Forged.stages`` is requested.
    """

    classify: Classify
    images: jax.Array
    frozen: Any
    step: jax.Array
    logged: jax.Array
    stages: bool = False


@flax.struct.dataclass
class Forged:
    """Fakes of a batch of real faces, made on the device.

    image: (B, S, S, 3) in [0, 1]. real: shaped like it, the faces to compare the fakes with; None: the scene's as they
    are. A forgery that enlarges its fakes gives them what enlarging costs, or sharpness alone would tell the two apart.
    targets: of the fakes, by name (``data.targets``); a missing mask is 1 everywhere, as for entire synthesis. stages:
    intermediate images, shaped like it, if requested. metrics: scalars for the log, zeros if the scene is not logged.
    """

    image: jax.Array
    real: jax.Array | None = None
    targets: dict[str, jax.Array] = flax.struct.field(default_factory=dict)
    stages: dict[str, jax.Array] = flax.struct.field(default_factory=dict)
    metrics: dict[str, jax.Array] = flax.struct.field(default_factory=dict)


class DeviceForgery(Protocol):
    """A forgery made on the device.

    frozen: the variables of its networks, host arrays, or {}; an argument of the compiled step. counterpart: whether
    a fake shows the same face as its original, so that a pair loss may compare them.
    """

    frozen: Any
    counterpart: bool

    def forge(self, keys: jax.Array, scene: Scene) -> Forged:
        """keys: (B,), one per row; row i of the result depends only on key i and image i."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """The arguments from which a forgery is built.

    options: its own fields of the config. recipe: how the faces were cropped, None if they were rendered. training:
    whether it may draw margins and augment; tests do neither. fakes: () -> the fakes of the data set.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recipe: CropRecipe | None = None
    training: bool = False
    fakes: Callable[[], Any] | None = None


@dataclasses.dataclass(frozen=True)
class Forgery:
    """The registry entry of a forgery.

    title: shown in reports. kind: one of ``types.KINDS``, or "unknown" if the fakes differ.
    make: (Setup) -> HostForgery or DeviceForgery. place: one of ``PLACES``. crop: the crop that a host forgery takes
    if the recipe has both, one of ``CROPS``. options: the names of its fields in the config.
    check: (options, path of their fields) -> None; raises UserError for fields that cannot be used.
    allows: (config.data) -> the reason why these data do not allow it, or "".
    tests: of a device forgery, name and title of each test, by stage; "image" is the fake itself.
    stages: of a host forgery, (forgery, rng, face, donor) -> (a dataclass of intermediate pictures, the ForgedPair);
    None if there is nothing to show but the mask.
    """

    title: str
    kind: str
    make: Callable[[Setup], HostForgery | DeviceForgery]
    place: str = "host"
    crop: str = "face"
    options: tuple[str, ...] = ()
    check: Callable[[Mapping[str, Any], str], None] = lambda options, path: None
    allows: Callable[[Any], str] = lambda data: ""
    tests: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    stages: Callable[..., tuple[Any, ForgedPair]] | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("place", PLACES), ("crop", CROPS), ("kind", (*KINDS, "unknown"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"forgery {self.title!r}: found {name} {getattr(self, name)!r}, wanted {allowed}")

    @property
    def kind_number(self) -> int:
        """The index of its kind in ``types.KINDS``, -1 for unknown."""
        return kind_number(self.kind)
