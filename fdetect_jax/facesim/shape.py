"""The features of a face: outline, brows, eyes, nose and mouth as curves, and the 68 points.

In: a `Person` and a `Shot`. Out: a `Face`, in centimetres on the canvas.
"""

from dataclasses import dataclass

import numpy as np

from fdetect_jax.facesim.canvas import spline_matrix
from fdetect_jax.facesim.person import Person, Shot

SIDES = np.array([-1.0, 1.0])  # left and right of the picture: the order of everything that comes in pairs


@dataclass(frozen=True)
class Eyes:
    """Both eye openings, in cm. They mirror each other but for `middle` and `open`.

    inner, outer: |x| of the corners. middle: (2,) y of the line between the corners. tilt: how far the inner
    corner lies below the middle, and the outer one above. upper, lower: height above and below that line when
    open. open: (2,) 0 shut .. 1, above 1 wide.
    """

    inner: float
    outer: float
    middle: np.ndarray
    tilt: float
    upper: float
    lower: float
    open: np.ndarray

    def lids(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y of the upper and the lower lid, (2, k) each, at these fractions (k,) of the way inner to outer."""
        line = self.middle[:, None] + self.tilt * (1 - 2 * s)
        arch = 4 * s * (1 - s)
        low = self.lower * np.power(arch, 0.75) * (0.85 + 0.3 * s)
        reach = self.upper * np.power(arch, 0.62) * (1.08 - 0.16 * s) + 0.9 * low
        return line + (0.9 * low - reach * self.open[:, None]), line + low


@dataclass(frozen=True)
class Face:
    """Everything about the features, in cm.

    outline: (k, 2) right half from crown to chin. lips: upper outer (7,), upper inner (5,), lower inner (5,),
    lower outer (7,): y at LIP_X and SEAM_X times half of the width of the mouth. brow: (5, 2) the right one, inner
    end first; brow_shift: (2,) what is added to its y on each side. points: (68, 2), iBUG order.
    """

    outline: np.ndarray
    eyes: Eyes
    lips: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    mouth_half: float
    brow: np.ndarray
    brow_shift: np.ndarray
    points: np.ndarray
    jaw_drop: float
    nose_size: tuple[float, float]  # half width, tip y


_OUTLINE = np.array(
    [
        (0, -13.4),
        (4.5, -12.6),
        (6.8, -10.2),
        (7.35, -7.0),
        (7.35, -3.8),
        (7.2, -0.6),
        (6.95, 2.2),
        (6.5, 4.6),
        (5.8, 6.8),
        (4.7, 8.7),
        (3.25, 10.2),
        (1.65, 11.1),
        (0, 11.35),
    ]
)
_CHIN_WEIGHT = np.array([0, 0, 0, 0, 0, 0, 0, 0.1, 0.25, 0.5, 0.8, 0.96, 1])

_DENSE = spline_matrix(len(_OUTLINE), 193)
# Where the jaw points 8 (chin) .. 16 (by the ear) lie on the outline.
_JAW = np.round(np.array([12.0, 11.2, 10.35, 9.45, 8.55, 7.65, 6.65, 5.75, 5.0]) * 16).astype(int)
_WIDTHS = {
    "forehead": [0, 0.10, 0.2, 0.25, 0.2, 0.12, 0.06, 0, 0, 0, 0, 0, 0],
    "cheek": [0, 0, 0, 0, 0.05, 0.14, 0.22, 0.2, 0.12, 0.05, 0, 0, 0],
    "jaw": [0, 0, 0, 0, 0, 0, 0.06, 0.17, 0.3, 0.33, 0.25, 0.1, 0],
    "gonial": [0, 0, 0, 0, 0, 0, 0, 0.08, 0.22, 0.15, -0.05, -0.05, 0],
    "chin": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0.1, 0.25, 0.22, 0],
    "fat": [0, 0, 0, 0, 0, 0.03, 0.1, 0.18, 0.22, 0.22, 0.15, 0.05, 0],
}
_DENSE_OUTLINE, _DENSE_CHIN = _DENSE @ _OUTLINE, _DENSE @ _CHIN_WEIGHT
_DENSE_WIDTHS = np.array(list(_WIDTHS.values())) @ _DENSE.T


def _outline(p: dict[str, float], drop: float) -> np.ndarray:
    out = _DENSE_OUTLINE.copy()
    out[:, 0] += np.array([p[name] for name in _WIDTHS]) @ _DENSE_WIDTHS
    out[:, 1] += (0.35 * p["length"] + drop) * _DENSE_CHIN
    return out


_BROW = np.array([(1.3, -1.95), (2.2, -2.3), (3.25, -2.45), (4.35, -2.3), (5.2, -1.65)])
_BROW_MOVES = np.array(  # x of the five points, then y
    [
        (0.12, 0.12, 0.12, 0.12, 0.12, 0, 0, 0, 0, 0),  # eye_gap
        (0, 0, 0, 0, 0, -0.22, -0.22, -0.22, -0.22, -0.22),  # brow_height
        (0, 0, 0, 0, 0, 0.064, -0.032, -0.144, -0.16, 0),  # brow_arch
        (0, 0, 0, 0, 0, -0.55, -0.7, -0.8, -0.75, -0.45),  # raise
        (-0.3, -0.18, -0.05, 0, 0, 0.55, 0.42, 0.2, 0.05, 0),  # frown
        (0, 0, 0, 0, 0, -0.55, -0.25, 0, 0.1, 0.12),  # sad
        (0, 0, 0, 0, 0, 0.12, 0.12, 0.12, 0.12, 0.12),  # squint
    ]
)


def _brow(p: dict[str, float], e: dict[str, float]) -> np.ndarray:
    moves = [p["eye_gap"], p["brow_height"], p["brow_arch"], e["raise"], e["frown"], e["sad"], e["squint"]]
    return _BROW + (np.array(moves) @ _BROW_MOVES).reshape(2, 5).T


def _eyes(person: Person, shot: Shot) -> Eyes:
    p, e = person.shape, shot.expression
    wide = 1.44 + 0.075 * p["eye_size"]
    x = 3.13 + 0.13 * p["eye_gap"]
    look = 0.35 * max(0.0, float(shot.gaze[1])) / 0.3
    smile = e["smile"]
    opened = 1 - 0.42 * e["squint"] - 0.12 * smile + 0.25 * e["raise"] - 0.1 * e["frown"] - 0.55 * look
    return Eyes(
        inner=x - wide,
        outer=x + wide,
        middle=0.04 * person.asymmetry[0] * SIDES + 0.1,
        tilt=0.06 + 0.08 * p["eye_tilt"],
        upper=0.60 + 0.05 * p["eye_size"] + 0.08 * p["eye_open"],
        lower=0.40 + 0.03 * p["eye_size"] - 0.13 * smile - 0.12 * e["squint"],
        open=max(opened, 0.25) * (1 - shot.blink),
    )


# Along the mouth, corner to corner: places of the outer and inner points, and the reach of each part there.
LIP_X, SEAM_X = np.array([-1, -0.62, -0.2, 0, 0.2, 0.62, 1]), np.array([-0.88, -0.32, 0, 0.32, 0.88])
_BOW, _LIFT = np.array([0, 0.62, 1.12, 0.98, 1.12, 0.62, 0]), np.array([0, 0.7, 1, 1, 1, 0.7, 0])
_FULL, _FULL_DROP = np.array([0, 0.54, 0.97, 1, 0.97, 0.54, 0]), np.array([0, 0.66, 0.97, 1, 0.97, 0.66, 0])
_PARTED = np.array([0.05, 0.9, 1, 0.9, 0.05])
_CORNERS = np.square(np.concatenate([LIP_X, SEAM_X]))  # how far each of them follows the corners
_RIGHT = np.concatenate([LIP_X, SEAM_X]) > 0


def _lips(person: Person, e: dict[str, float], drop: float) -> tuple[tuple[np.ndarray, ...], float]:
    """y of the four lines, and half of the width of the mouth."""
    p = person.shape
    smile, pucker, grin, smirk = e["smile"], e["pucker"], e["grin"], e["smirk"]
    half = (2.5 + 0.16 * p["mouth_width"]) * (1 + 0.20 * smile + 0.04 * grin - 0.26 * pucker - 0.05 * e["open"])
    y = 6.95 + 0.13 * p["philtrum"] + 0.12 * p["length"]
    up = max(0.34, 0.58 + 0.12 * p["upper_lip"]) * (1 - 0.28 * smile + 0.3 * pucker)
    down = max(0.45, 0.95 + 0.15 * p["lower_lip"]) * (1 - 0.18 * smile + 0.25 * pucker)
    gap_up = 0.06 * grin + 0.42 * grin * smile + 0.12 * e["open"]
    gap_down = 0.34 * grin * smile + drop
    corner, skew = 0.5 * (e["sad"] - smile), 0.06 * float(person.asymmetry[1])
    left, right = corner - skew + 0.65 * min(smirk, 0), corner + skew - 0.65 * max(smirk, 0)
    line = y + np.where(_RIGHT, right, left) * _CORNERS
    outer, inner = line[:7], line[7:] + 0.03
    return (
        outer - up * _BOW - gap_up * _LIFT,
        inner - gap_up * _PARTED,
        inner + 0.02 + gap_down * _PARTED,
        outer + down * _FULL + gap_down * _FULL_DROP,
    ), half


_BRIDGE = np.linspace(0, 1, 4)
_WINGS, _WINGS_Y = np.array([-0.82, -0.42, 0, 0.42, 0.82]), np.array([-0.28, -0.06, 0.08, -0.06, -0.28])


def _nose(p: dict[str, float], e: dict[str, float]) -> tuple[np.ndarray, float, float]:
    half = 1.72 + 0.14 * p["nose_width"] + 0.12 * e["smile"]
    tip = 3.75 + 0.16 * p["nose_length"] + 0.1 * p["length"] - 0.06 * e["smile"]
    out = np.zeros((9, 2))
    out[:4, 1] = (tip + 0.25) * _BRIDGE - 0.25
    out[4:, 0] = half * _WINGS
    out[4:, 1] = _WINGS_Y + (tip + 1.12 - 0.12 * p["nose_tip"])
    return out, half, tip


# Where the points of a lid lie, as fractions of the way from the inner to the outer corner.
_LID_AT = np.array([0.68, 0.32])


def build(person: Person, shot: Shot) -> Face:
    """The features of this person with this expression."""
    p, e = person.shape, shot.expression
    drop = 1.25 * e["open"] + 0.12 * e["grin"] * e["smile"]
    dense = _outline(p, 0.75 * drop)
    jaw = dense[_JAW]
    eyes = _eyes(person, shot)
    lips, mouth_half = _lips(person, e, drop)
    brow, brow_shift = _brow(p, e), -0.09 * person.asymmetry[2] * SIDES
    nose, half, tip = _nose(p, e)
    points = np.empty((68, 2))
    points[8:17] = jaw
    points[0:8] = jaw[:0:-1] * (-1, 1)
    # Just inside the rim, where the height is still well defined.
    points[:17] = (points[:17] - (0, 3)) * (0.975, 0.985) + (0, 3)
    points[22:27] = brow
    points[17:22] = brow[::-1] * (-1, 1)
    points[17:22, 1] += brow_shift[0]
    points[22:27, 1] += brow_shift[1]
    points[27:36] = nose
    upper, lower = eyes.lids(_LID_AT)
    near, far = (eyes.inner + _LID_AT[::-1] * (eyes.outer - eyes.inner)).tolist()
    # Outer corner, upper lid, inner corner, lower lid; the right eye runs the other way round.
    for k, order in enumerate(([36, 37, 38, 39, 40, 41], [45, 44, 43, 42, 47, 46])):
        ys = eyes.middle[k] + eyes.tilt * np.array([-1, 0, 0, 1, 0, 0])
        ys[[1, 2]], ys[[5, 4]] = upper[k], lower[k]
        points[order, 0] = SIDES[k] * np.array([eyes.outer, far, near, eyes.inner, near, far])
        points[order, 1] = ys
    points[48:55, 0], points[48:55, 1] = mouth_half * LIP_X, lips[0]
    points[55:60, 0], points[55:60, 1] = mouth_half * LIP_X[5:0:-1], lips[3][5:0:-1]
    points[60:65, 0], points[60:65, 1] = mouth_half * SEAM_X, lips[1]
    points[65:68, 0], points[65:68, 1] = mouth_half * SEAM_X[3:0:-1], lips[2][3:0:-1]
    return Face(dense, eyes, lips, mouth_half, brow, brow_shift, points, drop, (half, tip))
