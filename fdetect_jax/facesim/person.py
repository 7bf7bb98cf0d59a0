"""Who is shown and how: random people and random shots for the procedural faces, as plain numbers.

In: integer seeds. Out: a `Person` (what stays the same in every picture) and a `Shot` (what changes).
Lengths are centimetres on a life-size head, angles are radians, colours are linear RGB in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SHAPE = {  # the forms of a face, and what a fully masculine one adds to each
    "jaw": 0.7,
    "length": 0.3,
    "cheek": 0,
    "chin": 0.5,
    "forehead": 0.1,
    "gonial": 0.6,
    "eye_size": -0.5,
    "eye_gap": 0,
    "eye_tilt": 0,
    "eye_open": 0,
    "fold": 0,
    "brow_height": -0.8,
    "brow_arch": -0.6,
    "brow_thick": 0.8,
    "brow_ridge": 0.9,
    "nose_width": 0.4,
    "nose_length": 0.4,
    "nose_bridge": 0,
    "nose_tip": 0,
    "nose_hump": 0,
    "upper_lip": -0.5,
    "lower_lip": -0.4,
    "mouth_width": 0,
    "philtrum": 0,
    "cheekbone": -0.2,
    "fat": 0,
    "socket": 0,
    "ear": 0,
}
EXPRESSIONS = ("smile", "open", "frown", "raise", "squint", "pucker", "sad", "smirk", "grin")

HAIR_STYLES = ("bald", "buzz", "short", "swept", "curly", "bob", "long", "fringe", "tied", "afro", "receding")
_THIN = np.isin(HAIR_STYLES, ["bald", "receding"])
_HAIR_ODDS_MALE = np.array([0.10, 0.17, 0.24, 0.18, 0.10, 0.00, 0.03, 0.03, 0.02, 0.04, 0.09])
_HAIR_ODDS_FEMALE = np.array([0.00, 0.01, 0.05, 0.06, 0.10, 0.16, 0.25, 0.17, 0.15, 0.05, 0.00])
_IRISES = np.array(
    [(0.06, 0.025, 0.012), (0.16, 0.075, 0.03), (0.13, 0.13, 0.05), (0.10, 0.19, 0.30), (0.19, 0.24, 0.26)]
)
_HAIRS = np.array(
    [(0.008, 0.006, 0.005), (0.035, 0.018, 0.010), (0.10, 0.050, 0.022), (0.33, 0.20, 0.085), (0.22, 0.065, 0.02)]
)
_GREY = np.array([0.45, 0.44, 0.43])


@dataclass(frozen=True)
class Person:
    """One identity. `shape` maps each name of SHAPE to a roughly standard normal value."""

    shape: dict[str, float]
    masculine: float  # 0..1
    melanin: float  # 0 pale .. 1 very dark
    blood: float
    uneven: np.ndarray  # (2, 7, 7) slow variation of melanin and blood
    bumps: np.ndarray  # (9, 9) slow variation of height
    freckles: float
    moles: np.ndarray  # (k, 3) x, y, radius
    iris: np.ndarray
    hair: np.ndarray
    brow_color: np.ndarray
    style: str
    part: float  # x of the parting
    hairline: float
    wave: float
    beard: np.ndarray  # density of: stubble, moustache, chin, cheeks
    makeup: np.ndarray  # lip strength, lip colour (3), eye strength
    glasses: np.ndarray  # 0 or 1, half width, half height, roundness, thickness, shade
    texture: int  # selects noise tiles
    asymmetry: np.ndarray  # (6,)
    wrinkles: float
    shine: float


@dataclass(frozen=True)
class Shot:
    """One picture of a person."""

    yaw: float
    pitch: float
    roll: float
    zoom: float
    shift: np.ndarray  # (2,) fraction of the frame
    expression: dict[str, float]  # 0..1 each
    blink: np.ndarray  # (2,) 0 open .. 1 shut
    gaze: np.ndarray  # (2,) radians
    key: np.ndarray  # (3,) unit direction towards the light, camera frame, z to the viewer
    key_color: np.ndarray
    fill: np.ndarray  # (2, 3) light from above and from below
    softness: float  # 0 hard .. 1 overcast
    rim: np.ndarray  # (4,) direction sign and colour of a light from behind
    cloth: np.ndarray
    back: int  # seed of the background
    hair_shift: np.ndarray  # (3,)
    camera: np.ndarray  # exposure, contrast, wb red, wb blue, blur (of frame), noise, saturation
    quality: int


def _within(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))


def _pick(rng: np.random.Generator, odds: Sequence[float]) -> int:
    """`rng.choice(len(odds), p=odds)` without its checks, which are most of its time."""
    total = np.cumsum(odds)
    return int(np.searchsorted(total / total[-1], rng.random(), side="right"))


def _skin_and_hair(rng: np.random.Generator, age: float) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    melanin = float(np.clip(rng.beta(0.9, 1.7), 0.02, 0.95))
    dark = melanin > rng.uniform(0.2, 0.45)
    odds = [0.9, 0.1, 0, 0, 0] if dark else [0.22, 0.30, 0.22, 0.18, 0.08]
    hair = _HAIRS[_pick(rng, odds)] * rng.uniform(0.7, 1.4)
    if rng.random() < 0.03:
        hair = rng.uniform(0.02, 0.5, 3)
    brow = np.minimum(hair * 0.7, 0.13)
    grey = float(np.clip((age - rng.normal(52, 9)) / 22, 0, 1))
    hair = hair * (1 - grey) + _GREY * rng.uniform(0.5, 1.1) * grey
    brow = brow * (1 - 0.6 * grey) + _GREY * 0.6 * grey * 0.6
    iris_odds = [0.88, 0.12, 0, 0, 0] if dark else [0.25, 0.22, 0.17, 0.24, 0.12]
    iris = _IRISES[_pick(rng, iris_odds)] * rng.uniform(0.8, 1.25)
    return melanin, hair, brow, iris


def _beard(rng: np.random.Generator, masculine: float, age: float) -> np.ndarray:
    beard = np.zeros(4)
    if masculine < 0.55 or age < 18:
        return beard
    beard[0] = rng.uniform(0, 0.5)
    kind = rng.random()
    if kind < 0.22:
        beard[1:] = rng.uniform(0.5, 1), rng.uniform(0.6, 1), rng.uniform(0.5, 1)
    elif kind < 0.32:
        beard[1:3] = rng.uniform(0.4, 1, 2)
    elif kind < 0.38:
        beard[1] = rng.uniform(0.5, 1)
    elif kind < 0.55:
        beard[:] = rng.uniform(0.5, 1), rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.3), rng.uniform(0.05, 0.25)
    return beard


@lru_cache(maxsize=4096)
def person(seed: int, identity: int) -> Person:
    """The person with this number in the world of this seed."""
    rng = np.random.default_rng([seed, identity, 0])
    masculine = float(np.clip((0.15, 0.85)[rng.integers(2)] + rng.normal(0, 0.13), 0, 1))
    age = float(rng.uniform(16, 82) if rng.random() < 0.5 else rng.uniform(18, 45))
    old = max(0.0, (age - 30) / 45)
    shape = dict(zip(SHAPE, np.clip(rng.normal(0, 1, len(SHAPE)), -2.2, 2.2).tolist(), strict=True))
    m = 2 * masculine - 1
    for name, value in SHAPE.items():
        shape[name] += value * m
    shape["upper_lip"] -= 0.9 * old
    shape["fat"] += rng.normal(0, 0.3)
    shape["eye_open"] -= 0.5 * old
    melanin, hair, brow, iris = _skin_and_hair(rng, age)
    shape["upper_lip"] += 0.8 * (melanin - 0.4)
    shape["lower_lip"] += 0.8 * (melanin - 0.4)
    shape["nose_width"] += 1.2 * (melanin - 0.4)
    odds = masculine * _HAIR_ODDS_MALE + (1 - masculine) * _HAIR_ODDS_FEMALE
    if masculine > 0.5:
        odds = odds * np.where(_THIN, 0.3 + 1.5 * old, 1)
    style = HAIR_STYLES[_pick(rng, odds)]
    pale = melanin < 0.3
    wears_makeup = masculine < 0.5 and rng.random() < 0.55
    lip = np.array([(0.35, 0.02, 0.03), (0.45, 0.10, 0.12), (0.25, 0.03, 0.08), (0.40, 0.16, 0.12)])[rng.integers(4)]
    makeup = np.array([rng.uniform(0.2, 0.85) * wears_makeup, *lip, rng.uniform(0.2, 1) * wears_makeup])
    moles = np.column_stack([rng.uniform(-5.5, 5.5, 6), rng.uniform(-5, 10, 6), rng.uniform(0.05, 0.14, 6)])
    glasses = np.array(
        [
            rng.random() < 0.14 + 0.1 * old,
            rng.uniform(2.35, 2.75),
            rng.uniform(1.55, 2.2),
            rng.uniform(2.2, 5),
            rng.uniform(0.07, 0.26),
            (0.01, 0.02, 0.06, 0.25)[rng.integers(4)],
        ]
    )
    return Person(
        shape=shape,
        masculine=masculine,
        melanin=melanin,
        blood=float(rng.uniform(0.15, 0.75)),
        uneven=rng.normal(0, 1, (2, 7, 7)).astype(np.float32),
        bumps=rng.normal(0, 1, (9, 9)).astype(np.float32),
        freckles=float(rng.uniform(0.3, 1) if pale and rng.random() < 0.3 else rng.uniform(0, 0.15)),
        moles=moles[: rng.integers(0, 4)],
        iris=iris,
        hair=hair,
        brow_color=brow,
        style=style,
        part=float((-2.5, 0, 2.5)[rng.integers(3)] + rng.normal(0, 0.4)),
        hairline=float(-7.4 + rng.normal(0, 0.4)),
        wave=float(abs(rng.normal(0, 0.5)) + 0.8 * (melanin > 0.7)),
        beard=_beard(rng, masculine, age),
        makeup=makeup,
        glasses=glasses,
        texture=int(rng.integers(1 << 30)),
        asymmetry=rng.normal(0, 1, 6),
        wrinkles=float(np.clip((age - 26) / 50 + rng.normal(0, 0.1), 0.0, 1.1)),
        shine=float(rng.uniform(0.25, 1.0)),
    )


def expression(rng: np.random.Generator) -> dict[str, float]:
    """A mood: mostly neutral or smiling, now and then something stronger."""
    e = dict.fromkeys(EXPRESSIONS, 0.0)
    mood = rng.random()
    strong = float(rng.uniform(0.35, 1))
    if mood < 0.25:
        e["smile"] = 0.25 * strong
    elif mood < 0.45:
        e["smile"] = 0.8 * strong
    elif mood < 0.66:
        e["smile"], e["grin"], e["squint"] = strong, float(rng.uniform(0.3, 1)), 0.5 * strong
    elif mood < 0.74:
        e["open"], e["raise"] = strong, 0.8 * strong * float(rng.random())
    elif mood < 0.82:
        e["frown"], e["sad"] = strong, 0.5 * strong * float(rng.random())
    elif mood < 0.88:
        e["sad"] = strong
    elif mood < 0.93:
        e["pucker"] = strong
    else:
        e["smirk"] = strong * (1 if rng.random() < 0.5 else -1)
    for name in ("open", "raise", "frown", "squint"):
        e[name] = _within(e[name] + 0.12 * abs(rng.normal()), 0, 1)
    return e


def _lights(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    azimuth, elevation = rng.normal(0, 0.75), rng.normal(0.5, 0.35)
    azimuth, elevation = _within(azimuth, -1.35, 1.35), _within(elevation, -0.35, 1.15)
    key = np.array([np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    warm = rng.normal(0, 0.10)
    softness = float(rng.beta(1.5, 1.5))
    strength = rng.uniform(0.75, 1.05)
    key_color = strength * (1 - 0.35 * softness) * np.array([1 + warm, 1, 1 - warm])
    tint = rng.normal(0, 0.07)
    level = rng.uniform(0.13, 0.32) + 0.24 * softness
    fill = level * np.array([[1 - tint, 1, 1 + tint], [0.55 + tint, 0.5, 0.48 - tint]])
    return key, key_color, fill, softness


def _muted(colour: np.ndarray, amount: float) -> np.ndarray:
    return colour * (1 - amount) + colour.sum() * (amount / 3)


def shot(seed: int, identity: int, number: int) -> Shot:
    """Picture `number` of this person: pose, mood, light and camera."""
    rng = np.random.default_rng([seed, identity, 1 + number])
    key, key_color, fill, softness = _lights(rng)
    blink = 1.0 if rng.random() < 0.035 else _within(rng.normal(0.0, 0.10), 0, 0.35)
    deg = np.pi / 180
    rim = rng.uniform(0.3, 1.2) * (rng.random() < 0.3)
    return Shot(
        yaw=_within(rng.normal(0, 11), -25, 25) * deg,
        pitch=_within(rng.normal(0, 5), -12, 12) * deg,
        roll=_within(rng.normal(0, 3.2), -8, 8) * deg,
        zoom=float(rng.uniform(0.76, 0.85)),
        shift=np.clip(rng.normal(0, 0.012, 2), -0.03, 0.03),
        expression=expression(rng),
        blink=np.full(2, blink),
        gaze=np.array([_within(rng.normal(0, 0.17), -0.45, 0.45), _within(rng.normal(0.02, 0.10), -0.22, 0.28)]),
        key=key,
        key_color=key_color,
        fill=fill,
        softness=softness,
        rim=np.array(
            [1.0 if rng.random() < 0.5 else -1.0, rim, rim * rng.uniform(0.8, 1), rim * rng.uniform(0.6, 1.1)]
        ),
        cloth=_muted(rng.beta(0.8, 1.6, 3) * 0.7, 0.55),
        back=int(rng.integers(1 << 30)),
        hair_shift=rng.normal(0, 1, 3),
        camera=np.array(
            [
                rng.normal(0, 0.13),
                rng.normal(0, 0.06),
                rng.normal(0, 0.045),
                rng.normal(0, 0.045),
                abs(rng.normal(0, 0.0022)),
                abs(rng.normal(0, 0.011)),
                rng.normal(1.1, 0.10),
            ]
        ),
        quality=int(rng.integers(60, 99)),
    )
