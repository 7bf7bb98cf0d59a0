"""Light and camera: layers to radiance, radiance to a picture as a phone would store it.

In: `Layers` and a `Shot`. Out: linear RGB over the canvas, backgrounds, and uint8 RGB pictures.
"""

import math
from functools import lru_cache
from statistics import NormalDist

import cv2
import numpy as np

from fdetect_jax.facesim.canvas import Grid, clamp
from fdetect_jax.facesim.geometry import View
from fdetect_jax.facesim.layers import Layers, planes
from fdetect_jax.facesim.person import Person, Shot

_F = np.float32
_SHADOW_CELLS = 72
_REACH = np.array([0.35, 0.7, 1.1, 1.6, 2.3, 3.2, 4.4, 6.0], _F)  # where a shadow is looked for, cm
_WRAP = np.array([0.34, 0.18, 0.13], _F)  # how far light bleeds round a form, by channel


def normals(h: np.ndarray, g: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit normals x, y, z of the height map."""
    k = g.ppc / 8
    gx = cv2.Sobel(h, cv2.CV_32F, 1, 0, ksize=3, scale=k)
    gy = cv2.Sobel(h, cv2.CV_32F, 0, 1, ksize=3, scale=k)
    slope = gx * gx + gy * gy
    steep = np.maximum(np.sqrt(slope) * _F(1 / 3.0), 1)
    z = 1 / np.sqrt(1 + slope / (steep * steep))
    tilt = z / -steep
    return gx * tilt, gy * tilt, z


def cast_shadow(h: np.ndarray, g: Grid, light: np.ndarray, softness: float) -> np.ndarray:
    """(n, n) in [0, 1], 1 where the key light arrives: the height map against itself, moved."""
    m = _SHADOW_CELLS
    small = cv2.resize(h, (m, m), interpolation=cv2.INTER_AREA)
    flat = math.hypot(light[0], light[1]) + 1e-3
    slope = max(float(light[2]), 0.08) / flat
    pixels = g.ppc * m / g.n / flat
    x, y = float(light[0]) * pixels, float(light[1]) * pixels
    moved = np.empty((len(_REACH), m, m), _F)
    for part, distance in zip(moved, _REACH.tolist(), strict=True):
        cv2.getRectSubPix(small, (m, m), (0.5 * (m - 1) + x * distance, 0.5 * (m - 1) + y * distance), part)
    moved -= small
    moved -= (_REACH * _F(slope) + _F(0.12))[:, None, None]
    moved *= (1 / (0.25 + _F(0.15 + 0.5 * softness) * _REACH))[:, None, None]
    soft = cv2.GaussianBlur(clamp(moved.max(0), 0, 1), (0, 0), 0.6 + 1.2 * softness)
    return 1 - cv2.resize(soft, (g.n, g.n), interpolation=cv2.INTER_LINEAR)


def shade(g: Grid, layers: Layers, flow: tuple | None, person: Person, shot: Shot, matrix: np.ndarray) -> np.ndarray:
    """(3, n, n) linear radiance of every canvas point. flow: what `paint_hair` returned."""
    light, up = matrix.T @ shot.key, -matrix[1]
    half = light + matrix[2]
    half /= math.sqrt(half @ half)
    h = layers.height
    nx, ny, nz = normals(h, g)

    def along(direction: np.ndarray) -> np.ndarray:
        x, y, z = direction.astype(_F)
        return nx * x + ny * y + nz * z

    ndl = along(light)
    lit = cast_shadow(h, g, light, shot.softness)
    broad = cv2.resize(cv2.GaussianBlur(cv2.resize(h, (64, 64), interpolation=cv2.INTER_AREA), (0, 0), 2.4), (g.n, g.n))
    cavity = clamp(1 + 0.46 * (h - broad), 0.38, 1.15) * layers.occlusion
    sky = 0.5 + along(0.5 * up)
    wrap = planes(_WRAP * (0.5 + shot.softness))
    key = np.maximum((ndl + wrap) * (1 / (1 + wrap)), 0)
    key *= (lit * (_F(0.45) + _F(0.55) * layers.occlusion)) * planes(shot.key_color)
    above, below = (planes(c) for c in shot.fill)
    key += (below + (above - below) * sky) * (cavity * (_F(0.62) + _F(0.38) * nz))
    ndh = clamp(along(half), 0, 1)
    broad_lobe = ndh * ndh
    broad_lobe *= broad_lobe
    broad_lobe *= broad_lobe
    sharp_lobe = broad_lobe * broad_lobe
    sharp_lobe = sharp_lobe * sharp_lobe * broad_lobe
    spec = layers.gloss * lit * (_F(0.055) * broad_lobe + _F(0.16) * sharp_lobe) * (ndl > 0).astype(_F)
    spec *= _F(1 - 0.5 * shot.softness)
    out = layers.albedo * key
    out *= _F(1.12)
    out += (spec + layers.glint * layers.occlusion) * planes(shot.key_color + 0.2)
    if shot.rim[1] > 0:
        edge = clamp(1 - nz * 1.25, 0, 1) ** 2 * clamp(nx * _F(shot.rim[0]), 0, 1) * _F(0.35)
        out += edge * planes(shot.rim[1:]) * (0.25 + layers.albedo)
    if flow is not None:
        out += _sheen(layers, flow, half, nx, ny, nz, lit, person, shot)
    return out


def _sheen(layers: Layers, flow, half, nx, ny, nz, lit, person: Person, shot: Shot) -> np.ndarray:
    """Light along the strands (Kajiya and Kay's highlight)."""
    fx, fy = flow
    fz = -(nx * fx + ny * fy) / np.maximum(nz, 0.25)
    th = (fx * _F(half[0]) + fy * _F(half[1]) + fz * _F(half[2])) / np.sqrt(1 + fz * fz)
    shine = np.square(np.square(clamp(1 - th * th, 0, 1)))
    shine = shine * shine * shine * layers.hair * lit * clamp(0.7 + 0.5 * layers.strand, 0, 2)
    return shine * planes((0.05 + 0.7 * person.hair) * shot.key_color * 0.42 * (1.2 - shot.softness))


def _frame(person: Person, yaw: float) -> tuple[list[np.ndarray], int]:
    """Lines (k, 3) of a pair of glasses in cm, the rims first, and how many rims."""
    _, wide, high, power, _, _ = (float(v) for v in person.glasses)
    angle = np.linspace(0, 2 * np.pi, 49)
    c, s = np.cos(angle), np.sin(angle)
    x, y = np.sign(c) * np.abs(c) ** (2 / power) * wide, np.sign(s) * np.abs(s) ** (2 / power) * high
    centre = max(3.15, wide + 0.75)
    lines = [np.stack([x + side * centre, y + 0.45], 1) for side in (-1, 1)]
    u = np.linspace(-1, 1, 7)
    lines.append(np.stack([u * (centre - wide * 0.97), -0.25 - 0.2 * np.cos(1.5 * u)], 1))
    lines = [np.column_stack([line, 9.6 - 0.035 * line[:, 0] ** 2]) for line in lines]
    hinge = centre + wide
    for side in (-1, 1):
        if side * yaw <= 0.05:  # the temple on the far side is behind the face
            lines.append(np.array([(side * hinge, -0.35, 9.6 - 0.035 * hinge**2), (side * 7.35, -0.3, 0.5)]))
    return lines, 2


def glasses(seen: np.ndarray, person: Person, shot: Shot, view: View, scale: int) -> None:
    """Draws glasses over a premultiplied RGBA picture of `scale` times the size of the view, in place."""
    thick, shade = (float(v) for v in person.glasses[4:])
    lines, rims = _frame(person, shot.yaw)
    at = [(view.project(line) + 0.5) * scale - 0.5 for line in lines]
    ys = np.concatenate(at)[:, 1]
    px = thick * view.scale * scale
    top, bottom = max(int(ys.min() - px - 2), 0), min(int(ys.max() + px + 3), len(seen))
    part = seen[top:bottom]
    ink, lens = np.zeros(part.shape[:2], np.uint8), np.zeros(part.shape[:2], np.uint8)
    drawn = [np.round((line - (0, top)) * 16).astype(np.int32) for line in at]
    cv2.polylines(ink, drawn, False, int(255 * min(1.0, px)), max(1, round(px)), cv2.LINE_AA, 4)
    for line in drawn[:rims]:
        cv2.fillPoly(lens, [line], 255, cv2.LINE_AA, 4)
    metal = np.array([shade, shade * 0.8, shade * 0.65], _F) * (0.4 + 0.8 * shot.key_color.astype(_F))
    alpha = ink[..., None].astype(_F) * _F(1 / 255)
    ramp = np.linspace(0, 9, len(seen), dtype=_F)
    glare = np.maximum(np.sin(ramp[None] + ramp[top:bottom, None] + _F(shot.back % 7)), 0)
    glare *= glare * glare * _F(0.07 / 255) * lens
    part[..., :3] += glare[..., None]
    part[..., :3] += (metal - part[..., :3]) * alpha
    part[..., 3:] = np.maximum(part[..., 3:], alpha)


_RAMP = np.linspace(-1, 1, 32, dtype=_F)  # the background is made of 32 x 32 cells


def background(shot: Shot, size: int) -> np.ndarray:
    """(size, size, 3) linear RGB: a gradient and out-of-focus shapes."""
    rng = np.random.default_rng(shot.back)
    a, b = rng.beta(0.9, 1.3, (2, 3)).astype(_F)
    tie = _F(rng.uniform(0.3, 0.95))
    b = a * tie + b * (1 - tie)
    turn = rng.uniform(0, 2 * np.pi)
    ramp = clamp(0.5 + _F(0.45 * math.cos(turn)) * _RAMP + _F(0.45 * math.sin(turn)) * _RAMP[:, None], 0, 1)
    back = cv2.merge([ramp * d + c for c, d in zip(a, b - a, strict=True)])
    mean = 0.25 * (a + b)
    count = int(rng.integers(0, 9))
    for u in rng.random((count, 9)).tolist():
        p, q = [int(u[0] * 40) - 4, int(u[1] * 40) - 4], [2 + int(u[2] * 11), 2 + int(u[3] * 11)]
        colour = (mean + 0.6 * np.square(u[4:7])).tolist()
        if u[7] < 0.5:
            cv2.ellipse(back, p, q, 180 * u[8], 0, 360, colour, -1)
        else:
            cv2.rectangle(back, p, [p[0] + 2 * q[0], p[1] + 3 * q[1]], colour, -1)
    back = cv2.GaussianBlur(back, (0, 0), float(rng.uniform(0.6, 3.4)), borderType=cv2.BORDER_REPLICATE)
    back = cv2.transform(back, _saturate(rng.beta(1.0, 2.2)))
    return cv2.resize(back, (size, size), interpolation=cv2.INTER_CUBIC)


def _saturate(amount: float) -> np.ndarray:
    """(3, 3) that moves RGB from its grey value by this factor."""
    return _GREY + (_EYE - _GREY) * _F(amount)


_EYE = np.eye(3, dtype=_F)
_GREY = np.tile(np.array([0.299, 0.587, 0.114], _F), (3, 1))


@lru_cache(maxsize=1)
def _bell_table() -> np.ndarray:
    """(4096,) standard normal values that are equally likely; drawing one of them is eight times as fast."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / 4096) for i in range(4096)], _F)


def camera(radiance: np.ndarray, person: Person, shot: Shot, seed: list[int]) -> np.ndarray:
    """(S, S, 3) linear RGB to uint8 RGB: exposure, white balance, tone curve, blur, noise, JPEG."""
    exposure, contrast, red, blue, blur, noise, saturation = (float(v) for v in shot.camera)
    size, meter = radiance.shape[0], 0.55 * person.melanin
    gain = np.exp(exposure + meter) * np.array([1 + red, 1, 1 + blue])
    x = np.maximum(cv2.transform(radiance, _EYE * gain), 0)
    x *= (1 + x * _F(0.12)) / (1 + x * _F(0.38))
    x = cv2.transform(cv2.pow(x, 1 / 2.2), _saturate(saturation))
    x += _F(contrast + 0.08) * (x - 0.5) * (1 - np.abs(2 * clamp(x, 0, 1) - 1))
    if blur * size > 0.25:
        x = cv2.GaussianBlur(x, (0, 0), blur * size)
    if noise > 0.001:
        drawn = np.frombuffer(np.random.default_rng(seed).bytes(2 * x.size), "<u2") >> 4
        x += _bell_table().take(drawn).reshape(x.shape) * ((1.25 - clamp(x, 0, 1)) * _F(noise))
    out = clamp(x * 255 + 0.5, 0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", cv2.cvtColor(out, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, shot.quality])
    return cv2.cvtColor(cv2.imdecode(packed, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
