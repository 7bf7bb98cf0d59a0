"""What a forgery is: a fake of a real face, made on the host or on the device, registered with its kind and title."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import flax.struct
import jax

from fdetect_jax.media.crop import CropRecipe
from fdetect_jax.types import KINDS, ForgedPair, HostForgery, kind_number

Classify = Callable[[jax.Array], jax.Array]  # images (B, S, S, 3) in [0, 1] -> logits (B, K), in eval mode
PLACES = ("host", "device")
CROPS = ("face", "context")


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a device forgery works on, inside a compiled function.

    classify: the detector as it is now. images: (B, S, S, 3) real faces in [0, 1]. frozen: the forgery's own
    ``frozen``, placed on the devices. step: of the training, () int32; in tests the last. logged: () bool, whether
    anybody reads ``Forged.metrics``. stages: whether ``Forged.stages`` is asked for.
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

    image: (B, S, S, 3) in [0, 1]. targets: of the fakes, by name (``data.targets``); a mask that is not given is 1
    everywhere, as for entire synthesis. stages: images on the way to the fake, like it, where they were asked for.
    metrics: scalars for the log, zeros where the scene is not logged.
    """

    image: jax.Array
    targets: dict[str, jax.Array] = flax.struct.field(default_factory=dict)
    stages: dict[str, jax.Array] = flax.struct.field(default_factory=dict)
    metrics: dict[str, jax.Array] = flax.struct.field(default_factory=dict)


class DeviceForgery(Protocol):
    """A forgery made on the device.

    frozen: the variables of its networks, host arrays, or {}; an argument of the compiled step. counterpart: whether a
    fake is one of its very face, so that a pair loss may compare them.
    """

    frozen: Any
    counterpart: bool

    def forge(self, keys: jax.Array, scene: Scene) -> Forged:
        """keys: (B,), one per row; row i of the result depends on key i and image i alone."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a forgery is made from.

    options: its own fields of the config. recipe: how the faces were cropped, None where they were drawn. training:
    whether it may draw margins and augment; tests do neither. fakes: () -> the fakes that came with the data.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recipe: CropRecipe | None = None
    training: bool = False
    fakes: Callable[[], Any] | None = None


@dataclasses.dataclass(frozen=True)
class Forgery:
    """What is registered of a forgery.

    title: what a reader sees. kind: of ``types.KINDS``, or "unknown" where the fakes differ.
    make: (Setup) -> a HostForgery or a DeviceForgery. place: of ``PLACES``. crop: which crop a host forgery takes
    where the recipe has both, of ``CROPS``. options: the names of its fields in the config.
    check: (options, the path of their fields) -> None; raises UserError for what cannot be used.
    allows: (config.data) -> why these data do not allow it, or "".
    tests: of a device forgery, name and title of each test, by the stage that it shows; "image" is the fake itself.
    stages: of a host forgery, (forgery, rng, face, donor) -> (a dataclass of pictures on the way, the ForgedPair);
    None where there is nothing to show but the mask.
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
        """The place of its kind in ``types.KINDS``, -1 for unknown."""
        return kind_number(self.kind)
