"""Procedural faces: pictures of people who do not exist, exact 68 points and mask, found by index.

In: a seed and an index (or, for clips, an identity). Out: `types.Example`. Everything comes from code and
seeded numbers; no photograph, scan or learned model is used. A head is a height field seen from the front; it
is painted in centimetres, lit, turned and photographed, so one index shows the same face at every size.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.facesim import geometry, light, shape
from fdetect_jax.facesim.canvas import grid
from fdetect_jax.facesim.paint import paint
from fdetect_jax.facesim.person import EXPRESSIONS, Person, Shot, expression, person, shot

if TYPE_CHECKING:
    from fdetect_jax.types import Example

VERSION = 4
SPLITS = ("train", "val", "test")
SIZES = (32, 256)  # of a picture, pixels a side


def render(who: Person, how: Shot, size: int, noise_seed: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture: image (size, size, 3) uint8 RGB, landmarks (68, 2) float32 px, mask (size, size) uint8."""
    g = grid(max(96, round(1.5 * size)))
    face = shape.build(who, how)
    head = geometry.head(g, who, how, face)
    layers, flow = paint(g, who, how, face, head)
    view = geometry.view(face, how, size)
    radiance = light.shade(g, layers, flow, who, how, view.matrix)
    cells = max(48, min(size // 2 + 16, 128))
    mx, my = geometry.trace(layers.height, g, view, cells)
    fine = 2 * size
    mx, my = (cv2.resize(m, (fine, fine), interpolation=cv2.INTER_LINEAR) for m in (mx, my))
    stack = cv2.merge([*(radiance * layers.cover), layers.cover])
    seen = cv2.remap(stack, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if who.glasses[0]:
        light.glasses(seen, who, how, view, 2)
    flat = cv2.remap(layers.face, mx, my, cv2.INTER_LINEAR)
    seen = cv2.resize(seen, (size, size), interpolation=cv2.INTER_AREA)
    mask = (cv2.resize(flat, (size, size), interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8)
    points = geometry.surface(head.height, g, face.points)
    landmarks = view.project(points).astype(np.float32)
    through = cv2.cvtColor(1 - cv2.extractChannel(seen, 3), cv2.COLOR_GRAY2RGB)
    picture = cv2.cvtColor(seen, cv2.COLOR_RGBA2RGB) + light.background(how, size) * through
    return light.camera(picture, who, how, noise_seed), landmarks, mask


def _check(name: str, found: object, wanted: str, ok: bool) -> None:
    if not ok:
        raise UserError(f"{name}: found {found!r}, wanted {wanted}")


def _check_number(name: str, value: object, low: int, high: int) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    _check(name, value, f"an integer from {low} to {high}", whole and low <= value <= high)


@dataclass(frozen=True)
class FaceSim:
    """A random-access source of `types.Example`.

    split: "train", "val" or "test"; no identity is in two of them. size: pixels a side, 32 to 256.
    identities: people in this split. per_identity: pictures of each, consecutive in index. seed: which world.
    """

    split: str = "train"
    size: int = 64
    identities: int = 2000
    per_identity: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        _check("split", self.split, f"one of {SPLITS}", self.split in SPLITS)
        _check_number("size", self.size, *SIZES)
        _check_number("identities", self.identities, 1, 600_000_000)
        _check_number("per_identity", self.per_identity, 1, 1_000_000)
        _check_number("seed", self.seed, 0, 2**63 - 1)

    def __len__(self) -> int:
        return self.identities * self.per_identity

    def __getitem__(self, index: int) -> "Example":
        """The example at `index`, the same bytes in every process. IndexError outside [-len, len)."""
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index: found {index}, wanted one in [{-len(self)}, {len(self)})")
        row, number = divmod(index % len(self), self.per_identity)
        identity = row * len(SPLITS) + SPLITS.index(self.split)
        who, how = person(self.seed, identity), shot(self.seed, identity, number)
        image, landmarks, mask = render(who, how, self.size, [self.seed, identity, 1 + number, 1])
        return {"image": image, "landmarks": landmarks, "mask": mask, "identity": np.int32(identity)}

    @property
    def video(self) -> bool:
        """Pictures, not frames."""
        return False

    @property
    def groups(self) -> np.ndarray:
        """(N,) int: the person of each picture, counted within the split."""
        return np.repeat(np.arange(self.identities), self.per_identity)

    @property
    def recipe(self) -> None:
        """Drawn as they are, not cut from photographs."""
        return None

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when what this source yields would change."""
        # Not files.digest: the bundled weights name the faces they were trained on by this one.
        text = repr((VERSION, sorted(asdict(self).items())))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _wander(rng: np.random.Generator, seconds: np.ndarray, width: float, slowest: float) -> np.ndarray:
    """Smooth wandering around 0: four sines; width: deviation; slowest: period of the first, in seconds."""
    out = np.zeros_like(seconds)
    for k in range(4):
        out += np.sin(2 * np.pi * (seconds * (1 + 0.8 * k) / slowest + rng.random())) * rng.normal(0, 1) / (1 + k)
    return out * width


def _ease(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _blinks(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """0 open .. 1 shut: 90 ms to close, 160 ms to open; the first in 0.8 s, then every 1.5 to 4.5 s."""
    out = np.zeros_like(seconds)
    at = rng.uniform(0.25, 0.8)
    while at < seconds[-1] + 1:
        out = np.maximum(out, _ease((seconds - at) / 0.09) * (1 - _ease((seconds - at - 0.13) / 0.16)))
        at += rng.uniform(1.5, 4.5)
    return out


def _glances(rng: np.random.Generator, seconds: np.ndarray, width: float) -> np.ndarray:
    """Gaze angle: fixations of 0.5 to 2 s, joined by fast eased movements."""
    out = np.full_like(seconds, rng.normal(0, width))
    at = rng.uniform(0.3, 1.2)
    while at < seconds[-1] + 1:
        out += (rng.normal(0, width) - out[-1]) * _ease((seconds - at) / 0.10)
        at += rng.uniform(0.5, 2.0)
    return np.clip(out, -0.4, 0.4)


def _moods(rng: np.random.Generator, seconds: np.ndarray, first: dict[str, float]) -> dict[str, np.ndarray]:
    """Expression curves: from one mood to the next in about a second."""
    out = {name: np.full_like(seconds, first[name]) for name in EXPRESSIONS}
    at = rng.uniform(0.8, 2.0)
    while at < seconds[-1] + 1:
        then, slow = expression(rng), rng.uniform(0.5, 1.2)
        for name, values in out.items():
            out[name] = values + (then[name] - values) * _ease((seconds - at) / slow)
        at += rng.uniform(1.5, 3.5)
    return out


def _shots(seed: int, identity: int, frames: int, fps: float) -> Iterator[Shot]:
    rng = np.random.default_rng([seed, identity, 0, 1])
    seconds = np.arange(frames) / fps
    first = shot(seed, identity, 0)
    yaw = np.clip(0.6 * first.yaw + _wander(rng, seconds, 0.10, 4.0), -0.43, 0.43)
    pitch = np.clip(0.6 * first.pitch + _wander(rng, seconds, 0.045, 3.0), -0.2, 0.2)
    roll = np.clip(0.6 * first.roll + _wander(rng, seconds, 0.025, 3.5), -0.14, 0.14)
    drift = np.stack([_wander(rng, seconds, 0.006, 3.0) for _ in range(2)], 1)
    blink, moods = _blinks(rng, seconds), _moods(rng, seconds, first.expression)
    talk = np.maximum(_wander(rng, seconds, 0.12, 0.9), 0) * (rng.random() < 0.6)
    gaze = np.stack([_glances(rng, seconds, 0.16), 0.5 * _glances(rng, seconds, 0.12)], 1)
    for i in range(frames):
        mood = {name: float(values[i]) for name, values in moods.items()}
        mood["open"] = min(1.0, mood["open"] + float(talk[i]))
        yield replace(
            first,
            yaw=float(yaw[i]),
            pitch=float(pitch[i]),
            roll=float(roll[i]),
            expression=mood,
            gaze=gaze[i],
            blink=np.full(2, blink[i]),
            shift=np.clip(first.shift + drift[i], -0.04, 0.04),
        )


def clip(seed: int, identity: int, frames: int, fps: float = 25.0, size: int = 256) -> Iterator["Example"]:
    """Consecutive frames of one person in one light, with smooth motion, changing mood, glances and blinks.

    Args:
      seed, identity: which person; `Example.identity` of a `FaceSim` with this seed names the same one.
      frames: how many. fps: frames a second. size: pixels a side, 32 to 256.

    Raises:
      UserError: an argument is out of range; at the call, not at the first frame.
    """
    _check_number("seed", seed, 0, 2**63 - 1)
    _check_number("identity", identity, 0, 2**31 - 1)
    _check_number("frames", frames, 1, 1_000_000)
    _check("fps", fps, "a number above 0, at most 1000", isinstance(fps, int | float) and 0 < fps <= 1000)
    _check_number("size", size, *SIZES)
    return _frames(seed, identity, frames, float(fps), size)


def _frames(seed: int, identity: int, frames: int, fps: float, size: int) -> Iterator["Example"]:
    who = person(seed, identity)
    for i, how in enumerate(_shots(seed, identity, frames, fps)):
        image, landmarks, mask = render(who, how, size, [seed, identity, i, 2])
        yield {"image": image, "landmarks": landmarks, "mask": mask, "identity": np.int32(identity)}
