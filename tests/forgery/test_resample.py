"""Traces of enlargement: a pattern between neighbouring pixels, and neither another face nor another sharpness."""

import numpy as np
import pytest

from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.forgery.resample import resampled, stages

FACES = FaceSim("test", 96, 6, 1, 0)


def _no_donor():
    raise AssertionError("a donor was asked for")


def _made(seed, face=0):
    return resampled(np.random.default_rng(seed), FACES[face], _no_donor)


def test_the_face_stays_and_its_pattern_changes():
    for seed in range(12):
        made = _made(seed, seed % 6)
        np.testing.assert_array_equal(made.real, FACES[seed % 6]["image"])
        moved = made.fake.astype(float) - made.real
        assert made.fake.dtype == np.uint8
        assert 0.02 < np.abs(moved).mean() < 8
        # Averages over a neighbourhood stay: the change is between neighbours.
        blocks = moved[:96, :96].reshape(12, 8, 12, 8, 3).mean((1, 3))
        assert np.abs(blocks).mean() < 0.5 * np.abs(moved).mean()
        assert made.mask.min() == 1


def test_the_draw_decides_everything():
    assert len({_made(seed).fake.tobytes() for seed in range(8)}) == 8
    np.testing.assert_array_equal(_made(5).fake, _made(5).fake)


def test_enlargement_is_seen_in_the_spectrum():
    """A kernel that weighs pixels unevenly leaves a line at the frequency of the steps."""
    rng = np.random.default_rng(0)
    flat = dict(FACES[0], image=np.full((96, 96, 3), 128, np.uint8))
    seen = []
    for _ in range(40):
        trace, _ = stages(rng, flat, _no_donor)
        spectrum = np.abs(np.fft.fft2(trace.pattern[..., 0] - 127.5))
        if spectrum.max() > 1:
            strongest = np.unravel_index(spectrum.argmax(), spectrum.shape)
            assert all(frequency % 24 == 0 for frequency in strongest)  # of 96: periods of 2 or 4 pixels
            seen.append(strongest)
    assert len(seen) > 5


def test_faces_and_their_traces_are_about_as_sharp():
    def sharpness(image):
        grey = image.astype(float).mean(-1)
        return np.square(np.diff(grey, axis=0)).mean() + np.square(np.diff(grey, axis=1)).mean()

    ratios = [sharpness(made.fake) / sharpness(made.real) for made in (_made(seed, seed % 6) for seed in range(60))]
    assert 0.8 < np.median(ratios) < 1.25


@pytest.mark.parametrize("size", [8, 33, 64])
def test_any_size(size):
    for seed in range(12):
        face = dict(FACES[0], image=np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8))
        made = resampled(np.random.default_rng(seed), face, _no_donor)
        assert made.fake.shape == (size, size, 3)
        assert made.mask.shape == (size, size)
