"""The parts of a self-blended image, each held to the published numbers over many draws."""

import cv2
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import ConvexHull

from fdetect_jax.faces.landmarks import forehead
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.forgery import sbi_masks, sbi_transforms
from fdetect_jax.forgery.sbi_masks import HULLS, hull_mask, soften
from fdetect_jax.forgery.sbi_transforms import Augmentation, Colour, Detail, draw_affine, elastic, farthest


def _rng(seed=0):
    return np.random.default_rng(seed)


def _image(size=64, seed=0):
    return _rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def landmarks():
    return FaceSim("test", 256, 1, 1)[0]["landmarks"]


def _uniform(values, low, high):
    """Whether draws fill [low, high] evenly and never leave it."""
    values = np.asarray(values, float)
    assert values.min() >= low
    assert values.max() <= high
    slack = 0.05 * (high - low)
    wanted = low + (high - low) * np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    np.testing.assert_allclose(np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9]), wanted, atol=slack)


# The hulls, written out once more from Face X-ray's library.


def _parts(points):
    def run(*spans):
        return points[[i for first, last in spans for i in range(first, last + 1)]]

    return [
        run((0, 8), (17, 17)),
        run((8, 16), (26, 26)),
        run((17, 19), (8, 8)),
        run((24, 26), (8, 8)),
        run((19, 24), (8, 8)),
        run((17, 21), (27, 27), (31, 35), (8, 8)),
        run((22, 26), (27, 27), (31, 35), (8, 8)),
        run((27, 35)),
    ]


def _wanted(landmarks, hull, above):
    p = landmarks.astype(int)
    if hull == "dfl_full":
        return [p[[*range(17), *range(48, 68)]], p[[27, 28, 29, 30, 33]], p[[*range(17, 27), 0, 27, 16, 33]]]
    if hull == "facehull":
        return [np.concatenate([p, forehead(landmarks).astype(int)]) if above else p]
    if hull == "extended":
        p = p.copy()
        ml, mr = (p[36] + p[0]) // 2, (p[16] + p[45]) // 2
        ql, qr = (p[36] + ml) // 2, (p[45] + mr) // 2
        for brow, under in zip(range(17, 27), [ql, *p[36:40], *p[42:46], qr], strict=True):
            p[brow] = p[brow] + (p[brow] - under) // 2
    return _parts(p)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("hull", HULLS)
def test_hulls(landmarks, hull, above):
    y, x = np.mgrid[:256, :256]
    inside = np.full((256, 256), -np.inf)
    for part in _wanted(landmarks, hull, above):
        planes = ConvexHull(part).equations
        depth = -(planes[:, 0, None, None] * x + planes[:, 1, None, None] * y + planes[:, 2, None, None]).max(0)
        inside = np.maximum(inside, depth)
    mask = hull_mask(landmarks, hull, (256, 256), above)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert mask[inside >= 0].all()
    assert not mask[inside < -1].any()  # pixels that the outline crosses are in


def test_hulls_differ(landmarks):
    sizes = {hull: int(hull_mask(landmarks, hull, (256, 256)).sum()) for hull in HULLS}
    assert len(set(sizes.values())) == 4
    assert sizes["components"] < sizes["extended"] < sizes["facehull"]
    assert hull_mask(landmarks, "facehull", (256, 256), above=False).sum() < sizes["facehull"]
    assert (hull_mask(landmarks, "dfl_full", (256, 256)) == hull_mask(landmarks, "dfl_full", (256, 256), False)).all()


# Dynamic blending.


class _Spy:
    def __init__(self, monkeypatch, where, name):
        self.calls, self.real = [], getattr(where, name)
        monkeypatch.setattr(where, name, self)

    def __call__(self, *args, **options):
        self.calls.append((args, options))
        return self.real(*args, **options)


def _square(size=300, reach=90):
    hull = np.zeros((size, size), np.uint8)
    hull[size // 2 - reach : size // 2 + reach, size // 2 - reach : size // 2 + reach] = 1
    return hull


def test_blending_draws_sizes_kernels_and_ratios(monkeypatch):
    blurs, resizes = (_Spy(monkeypatch, sbi_masks.cv2, name) for name in ("GaussianBlur", "resize"))
    rng, hull = _rng(), _square()
    peaks = [soften(rng, hull).max() for _ in range(600)]
    sizes = np.array([args[1] for args, _ in resizes.calls[::2]])
    for side in sizes.T:
        assert (side.min(), side.max()) == (192, 256)
        _uniform(side, 192, 256)
    assert abs(np.corrcoef(sizes.T)[0, 1]) < 0.15
    first, second = ([args[1:] for args, _ in blurs.calls[start::2]] for start in (0, 1))
    for kernels in ([k for k, _ in first], [k for k, _ in second]):
        assert all(x == y for x, y in kernels)
        found, counts = np.unique([x for x, _ in kernels], return_counts=True)
        np.testing.assert_array_equal(found, np.arange(5, 26, 2))
        np.testing.assert_allclose(counts / 600, 1 / 11, atol=0.04)
    assert {sigma for _, sigma in first} == {0}
    assert {sigma for _, sigma in second} == set(range(5, 46))
    found, counts = np.unique(np.round(peaks, 5), return_counts=True)
    np.testing.assert_array_equal(found, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(counts / 600, [1 / 6, 1 / 6, 1 / 6, 1 / 2], atol=0.05)


def _kernel(size, sigma):
    sigma = sigma or 0.3 * ((size - 1) / 2 - 1) + 0.8
    values = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    return values / values.sum()


def _blurred(mask, size, sigma):
    for axis in (0, 1):
        mask = ndimage.convolve1d(mask, _kernel(size, sigma), axis, mode="mirror")
    return mask


def test_blending_in_closed_form(monkeypatch):
    blurs, resizes = (_Spy(monkeypatch, sbi_masks.cv2, name) for name in ("GaussianBlur", "resize"))
    hull = _square()
    for seed in range(20):
        blurs.calls.clear(), resizes.calls.clear()
        found = soften(_rng(seed), hull)
        (first, _), (second, sigma) = (args[1:] for args, _ in blurs.calls)
        small = resizes.real(hull.astype(np.float64), resizes.calls[0][0][1])
        inside = _blurred(small, first[0], 0)
        cut = (inside / inside.max() > 1 - 1e-6).astype(float)
        assert 0 < cut.sum() < (small == 1).sum()  # in bytes nothing would be cut back
        soft = _blurred(cut, second[0], sigma)
        wanted = resizes.real(soft / soft.max(), (300, 300))
        np.testing.assert_allclose(found / found.max(), wanted / wanted.max(), atol=2e-5)


def test_a_hull_that_is_all_edge_leaves_nothing():
    assert soften(_rng(), np.zeros((200, 200), np.uint8)) is None
    line = np.zeros((200, 200), np.uint8)
    line[100, 20:180] = 1
    assert soften(_rng(), line) is None or soften(_rng(), line).max() > 0  # never divides by zero
    assert not np.isnan([soften(_rng(seed), _square(200, 8)).max() for seed in range(5)]).any()


# Colours.


def test_colour_s_ranges_and_odds():
    drawn = [Colour.draw(rng, hsv=0.4, tone=0.6, limit=0.1) for rng in [_rng()] for _ in range(4000)]
    for name, odds in (("shift", 0.3), ("hsv", 0.4), ("tone", 0.6)):
        assert np.mean([getattr(one, name) is not None for one in drawn]) == pytest.approx(odds, abs=0.03)
    for column in np.array([one.shift for one in drawn if one.shift]).T:
        _uniform(column, -20, 20)
    for column in np.array([one.hsv for one in drawn if one.hsv]).T:
        _uniform(column, -0.3, 0.3)
    contrast, brightness = np.array([one.tone for one in drawn if one.tone]).T
    _uniform(contrast, 0.9, 1.1)
    _uniform(brightness, -0.1, 0.1)
    always = [Colour.draw(rng, hsv=1, tone=1, limit=0.1) for rng in [_rng()] for _ in range(50)]
    assert all(one.hsv and one.tone for one in always)


def test_colour_in_closed_form():
    image = _image()
    np.testing.assert_array_equal(Colour()(image), image)
    shifted = Colour(shift=(19.5, -7.25, 0.0))(image)
    np.testing.assert_array_equal(shifted, np.clip(np.array([19.5, -7.25, 0.0]) + image, 0, 255).astype(np.uint8))
    toned = Colour(tone=(1.07, -0.04))(image)
    np.testing.assert_array_equal(toned, np.clip(1.07 * image - 0.04 * 255, 0, 255).astype(np.uint8))


def test_hue_saturation_and_value_move_by_a_level_at_most():
    image = _image()
    before = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    back = cv2.cvtColor(before, cv2.COLOR_HSV2RGB)
    np.testing.assert_array_equal(Colour(hsv=(0.3, 0.3, 0.3))(image), back)
    lower = before.astype(int) - [1, 1, 1]
    lower[..., 0] %= 180
    wanted = cv2.cvtColor(np.clip(lower, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)
    np.testing.assert_array_equal(Colour(hsv=(-0.3, -0.01, -0.2))(image), wanted)


# Sharpness.


def test_detail_s_ranges_and_odds():
    drawn = [Detail.draw(rng) for rng in [_rng()] for _ in range(3000)]
    assert all((one.shrink is None) != (one.sharpen is None) for one in drawn)
    shrinks = [one.shrink for one in drawn if one.shrink]
    assert len(shrinks) / 3000 == pytest.approx(0.5, abs=0.03)
    assert set(shrinks) == {2, 4}
    assert np.mean(np.array(shrinks) == 2) == pytest.approx(0.5, abs=0.04)
    share, lightness = np.array([one.sharpen for one in drawn if one.sharpen]).T
    _uniform(share, 0.2, 0.5)
    _uniform(lightness, 0.5, 1.0)


def test_sharpening_in_closed_form():
    image = _image()
    sharp = Detail(sharpen=(0.3, 0.8))(image)
    kernel = np.full((3, 3), -0.3)
    kernel[1, 1] = 0.7 + 0.3 * 8.8
    for channel in range(3):
        wanted = ndimage.correlate(image[..., channel].astype(float), kernel, mode="mirror")
        np.testing.assert_allclose(sharp[..., channel], np.clip(wanted, 0, 255), atol=0.51)


@pytest.mark.parametrize("factor", [2, 4])
def test_shrinking_takes_every_nth_pixel_and_joins_them_smoothly(factor):
    image = _image(60)
    small = image[::factor, ::factor]
    wanted = cv2.resize(small, (60, 60), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(Detail(shrink=factor)(image), wanted)
    assert Detail(shrink=4)(image[:3, :2]).shape == (3, 2, 3)


# After the blend.


def test_augmentation_s_ranges_and_odds():
    drawn = [Augmentation.draw(rng) for rng in [_rng()] for _ in range(4000)]
    for name in ("shift", "hsv", "tone"):
        assert np.mean([getattr(one.colour, name) is not None for one in drawn]) == pytest.approx(0.3, abs=0.03)
    contrast, brightness = np.array([one.colour.tone for one in drawn if one.colour.tone]).T
    _uniform(contrast, 0.7, 1.3)
    _uniform(brightness, -0.3, 0.3)
    qualities = [one.quality for one in drawn if one.quality is not None]
    assert len(qualities) / 4000 == pytest.approx(0.5, abs=0.03)
    assert set(qualities) == set(range(40, 101))
    _uniform(qualities, 40, 100)


def test_compression_takes_red_for_blue():
    smooth = cv2.GaussianBlur(_image(), (0, 0), 2)
    found = Augmentation(Colour(), 60)(smooth)

    def properly(image):
        encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
        return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]

    np.testing.assert_array_equal(found, properly(smooth[..., ::-1])[..., ::-1])
    assert (found != properly(smooth)).any()
    np.testing.assert_array_equal(Augmentation(Colour(), None)(smooth), smooth)


# Where things move.


@pytest.mark.parametrize("shape", [(200, 300), (400, 600)])
def test_affine_s_ranges_follow_the_image_s_size(shape):
    rng, (height, width) = _rng(), shape
    drawn = np.array([draw_affine(rng, shape) for _ in range(3000)])
    assert not drawn[:, [0, 1], [1, 0]].any()  # no turn, no shear
    centre = np.array([width - 1, height - 1, 2]) / 2
    shift = drawn @ centre - centre[:2]
    _uniform(shift[:, 0] / width, -0.03, 0.03)
    _uniform(shift[:, 1] / height, -0.015, 0.015)
    for axis in (0, 1):
        _uniform(drawn[:, axis, axis], 0.95, 1 / 0.95)
    assert abs(np.corrcoef(drawn[:, 0, 0], drawn[:, 1, 1])[0, 1]) < 0.1
    corners = np.array([(x, y, 1) for x in (0, width - 1) for y in (0, height - 1)])
    moved = np.abs(corners @ drawn.transpose(0, 2, 1) - corners[:, :2]).max((0, 1))
    assert (moved < farthest(shape)).all()
    assert (moved > 0.8 * np.array(farthest(shape))).all()


@pytest.mark.parametrize("size", [200, 400])
def test_elastic_displacements(monkeypatch, size):
    """Their deviation is 50 x that of uniform noise under a Gaussian of 7 px, whatever the image's size."""
    remaps = _Spy(monkeypatch, sbi_transforms.cv2, "remap")
    rng, fields = _rng(), []
    for _ in range(30):
        elastic(rng, _square(size, 60))
        (_, columns, rows, flag), options = remaps.calls.pop()
        assert flag == cv2.INTER_NEAREST
        assert options == {"borderMode": cv2.BORDER_REFLECT_101}
        x, _, w, _ = cv2.boundingRect(_square(size, 60))
        start = x - (columns.shape[1] - w) // 2
        fields += [
            columns - np.arange(start, start + columns.shape[1]),
            rows - np.arange(start, start + len(rows))[:, None],
        ]
    fields = np.array(fields)
    # A sum of squared weights 1 / (4 pi 49), of noise with variance 1/3.
    wanted = 50 * np.sqrt(1 / 3 / (4 * np.pi * 49))
    assert fields.std() == pytest.approx(wanted, rel=0.05)
    assert wanted == pytest.approx(1.16, abs=0.01)
    for lag in (3, 7, 12):
        for one, other in ((fields[:, lag:], fields[:, :-lag]), (fields[..., lag:], fields[..., :-lag])):
            assert np.mean(one * other) / fields.var() == pytest.approx(np.exp(-(lag**2) / (4 * 49)), abs=0.08)
    assert np.abs(fields).max() < sbi_transforms._FARTHEST


def test_elastic_reaches_to_the_border_as_scipy_s_does(monkeypatch):
    """Noise drawn for a part is blurred as if it were drawn for all: the border rule holds at the image's edge only."""
    mask = np.zeros((120, 120), np.uint8)
    mask[:, :40] = 1
    remaps = _Spy(monkeypatch, sbi_transforms.cv2, "remap")
    elastic(_rng(3), mask)
    columns = remaps.calls[0][0][1]
    assert columns.shape == (120, 40 + sbi_transforms._FARTHEST)
    noise = 100 * _rng(3).random((120, 49 + 28, 2), np.float32)[..., 0].astype(float) - 50
    wanted = ndimage.gaussian_filter(noise, 7, mode="reflect", truncate=4)[:, :49]
    np.testing.assert_allclose(columns - np.arange(49), wanted, atol=1e-3)


def test_elastic_moves_the_outline_and_nothing_else():
    mask = _square(200, 60)
    found = elastic(_rng(), mask)
    assert set(np.unique(found)) == {0, 1}
    changed = np.argwhere(found != mask)
    assert 50 < len(changed) < 2000
    depth = np.abs(np.abs(changed - 99.5).max(1) - 60)
    assert depth.max() < sbi_transforms._FARTHEST
    empty = np.zeros((50, 50), np.uint8)
    np.testing.assert_array_equal(elastic(_rng(), empty), empty)
