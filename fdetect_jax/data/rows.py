"""Turns a face into one row of a batch: its fake, its targets, and one draw of augmentation for all of them.

A row is a dict of arrays: ``image`` (S, S, 3) uint8; ``forged``, of the same form, if the fake is made on the host; and
``target/NAME`` for every requested target, of the face or of the fake (``data.targets``). In a clip every image and map
has one more axis in front, (T, …).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fdetect_jax.data.mixture import Mixture
from fdetect_jax.data.source import Source, describe
from fdetect_jax.data.targets import TARGETS, Target
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import CropRecipe, face_crop
from fdetect_jax.types import UNKNOWN, Example, ForgedPair, HostForgery

Row = dict[str, np.ndarray]
TARGET = "target/"  # prefix of the names of targets in a row


class Transform(Protocol):
    """Changes ``images``, all alike, and moves ``masks`` with them; both are returned as lists."""

    def __call__(
        self, rng: np.random.Generator, images: Sequence[np.ndarray], masks: Sequence[np.ndarray] = ()
    ) -> tuple[list[np.ndarray], list[np.ndarray]]: ...


class UnusableFace(UserError):
    """A face that cannot be read or forged; the message names it."""


@dataclass(frozen=True)
class Slot:
    """How the fake of a row is made.

    forge: makes it on the host; None: it is made on the device, or not at all. context: ``forge`` takes a context crop
    if the source has one; otherwise the face crop is cut first. kind: of the fakes, an index into ``types.KINDS``.
    method: 1 + the position of the forgery in the run's mix.
    """

    forge: HostForgery | None = None
    context: bool = False
    kind: int = UNKNOWN
    method: int = 1


def frames_of(example: Example) -> list[Example]:
    """The frames of a clip, or the one face."""
    return example.get("frames", [example])


@dataclass(frozen=True)
class MakeRow:
    """((position, index), rng) -> the row of face ``index`` of the source.

    source: the faces. slots: how fakes are made, assigned by position. augment: applied to a face and its fake alike.
    targets: names of ``TARGETS`` that the row has. training: face crops get random margins if the recipe has a range.

    Raises UnusableFace if a data set or a forgery rejects a face; any other error is a bug, and names the face.
    """

    source: Source
    slots: tuple[Slot, ...] = (Slot(),)
    augment: Transform | None = None
    targets: tuple[str, ...] = ()
    training: bool = True

    def __call__(self, place: tuple[int, int], rng: np.random.Generator) -> Row:
        position, index = place
        try:
            return self.make(self.source[index], index, rng, self.slots[position % len(self.slots)])
        except UserError as error:
            raise UnusableFace(f"data: face {index} of {len(self.source)}: {describe(error)}") from error
        except Exception as error:
            error.add_note(f"at face {index} of {len(self.source)}")
            raise

    def make(self, example: Example, index: int, rng: np.random.Generator, slot: Slot) -> Row:
        """The row of an example that is already read."""
        pairs = list(self._pairs(example, index, rng, slot))
        images, fakes = [real for real, _, _ in pairs], [pair.fake for _, pair, _ in pairs if pair is not None]
        names = [name for name in self.targets if slot.forge is not None or TARGETS[name].real is None]
        values = {name: [_target(name, slot, *pair) for pair in pairs] for name in names}
        maps = [name for name in values if TARGETS[name].map]
        flat = [np.asarray(one, np.float32) for name in maps for one in values[name]]
        if self.augment is not None:
            moved, flat = self.augment(rng, images + fakes, flat)
            images, fakes = moved[: len(images)], moved[len(images) :]
        for number, name in enumerate(maps):
            values[name] = flat[number * len(pairs) : (number + 1) * len(pairs)]
        clip = "frames" in example
        row = {"image": _packed(images, clip)} | ({"forged": _packed(fakes, clip)} if fakes else {})
        for name, of_frames in values.items():
            target = TARGETS[name]
            if target.map:
                row[TARGET + name] = _packed([np.round(255 * one).astype(np.uint8) for one in of_frames], clip)
            else:
                row[TARGET + name] = np.asarray(of_frames[0], target.dtype)
        return row

    def _pairs(
        self, example: Example, index: int, rng: np.random.Generator, slot: Slot
    ) -> Iterator[tuple[np.ndarray, ForgedPair | None, Example]]:
        """(real, result of the forgery, face) per frame; all frames of a clip are forged by the same draw."""
        frames, recipe = frames_of(example), self.source.recipe
        seed = int(rng.integers(2**63)) if len(frames) > 1 else None
        donors: list[Example] = []
        for number, face in enumerate(frames):
            own = rng if seed is None else np.random.default_rng(seed)
            margins = own if self.training else None

            def donor(own=own, margins=margins, number=number) -> Example:
                if not donors or len(frames) == 1:
                    donors[:] = frames_of(self._donor(example, index, own))
                return cut_for(slot, donors[number % len(donors)], recipe, margins)

            face = cut_for(slot, face, recipe, margins)
            if slot.forge is None:
                yield face["image"], None, face
            else:
                pair = slot.forge(own, face, donor)
                yield pair.real, pair, face

    def _donor(self, example: Example, index: int, rng: np.random.Generator) -> Example:
        # From the same part of a mixture: otherwise the edge of a swap would separate two cameras.
        among = self.source.part_at(index) if isinstance(self.source, Mixture) else range(len(self.source))
        for _ in range(100):
            if (other := self._other(among[int(rng.integers(len(among)))], example)) is not None:
                return other
        start = int(rng.integers(len(among)))  # reached when one person holds nearly all photographs
        for number in range(start, start + len(among)):
            if (other := self._other(among[number % len(among)], example)) is not None:
                return other
        raise UserError("found one person, wanted at least two to swap faces between")

    def _other(self, index: int, example: Example) -> Example | None:
        """Face ``index`` if it shows another person; None if not, or if it cannot be read."""
        try:
            other = self.source[index]
        except UserError:  # counted when its own turn comes, not as a fault of the face that it was drawn for
            return None
        return other if other["identity"] != example["identity"] else None


def cut_for(
    slot: Slot, face: Example, recipe: CropRecipe | None, margins: np.random.Generator | None = None
) -> Example:
    """The crop of a source's face that the slot takes; its margins are drawn from ``margins``, fixed if None."""
    if "box" not in face or slot.context:
        return face
    return {name: value for name, value in face.items() if name != "box"} | face_crop(face, recipe, margins)


def _target(name: str, slot: Slot, real: np.ndarray, pair: ForgedPair | None, face: Example) -> Any:
    """The value of a target for one frame: of the fake, or of the face for targets that face and fake share."""
    target: Target = TARGETS[name]
    known: dict[str, Any] = {"kind": slot.kind, "method": slot.method}
    if pair is not None:
        known |= {"valid": float(pair.mask is not None), "mask": pair.mask, "face": pair.face, **pair.targets}
    value = known.get(name)
    if value is None and target.example:
        value = face.get(target.example)
    if value is None and pair is not None:
        value = target.fake
    if value is None:
        wanted = "faces with landmarks" if name == "face" else "a forgery that provides it"
        raise UserError(f"found no target {name!r}, wanted {wanted}, or a loss without it")
    return np.broadcast_to(value, real.shape[:2]) if target.map else value


def _packed(frames: Sequence[np.ndarray], clip: bool) -> np.ndarray:
    return np.stack(frames) if clip else frames[0]


def stack(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Rows -> one batch; each array holds only the rows that have it, in their order."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.stack([row[name] for row in rows if name in row]) for name in names}
