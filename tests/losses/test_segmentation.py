"""The terms of ClassNSeg's loss, against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.errors import UserError
from fdetect_jax.losses.terms import TERMS
from fdetect_jax.types import Batch, Outputs

LABEL = np.array([0, 1], np.int32)


def value(name, heads, image=None, targets=None, **options):
    image = np.zeros((2, 4, 4, 3), np.float32) if image is None else image
    batch = Batch(image, LABEL, np.ones(2, np.float32), targets or {})
    return np.asarray(TERMS[name].function(Outputs(jnp.zeros((2, 2)), heads), batch, **options))


def test_activation_is_the_distance_from_one_and_zero():
    found = value("activation", {"activations": jnp.array([[0.7, 0.2], [0.7, 0.2]])})
    np.testing.assert_allclose(found, [0.3 + 0.2, 0.7 + 0.8], rtol=1e-6)


def masked(logit, form, valid=(1, 1), mask=None):
    """Of two rows whose whole mask has one logit; the second is altered everywhere, unless ``mask`` says otherwise."""
    mask = np.stack([np.zeros((4, 4)), np.ones((4, 4))]).astype(np.float32) if mask is None else mask
    targets = {"mask": mask, "valid": np.array(valid, np.float32)}
    return value("segmentation", {"mask": jnp.full((2, 4, 4, 1), logit)}, targets=targets, form=form)


def test_segmentation_in_both_forms():
    p = 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(masked(2.0, "cross_entropy"), [-np.log(1 - p), -np.log(p)], rtol=1e-5)
    # The softmax of (1 - p, p), of which the cross-entropy is taken once more.
    twice = np.exp([1 - p, p]) / np.exp([1 - p, p]).sum()
    np.testing.assert_allclose(masked(2.0, "double_softmax"), -np.log(twice), rtol=1e-5)


def test_an_unknown_mask_costs_nothing_and_a_soft_one_is_cut_at_half():
    assert masked(2.0, "cross_entropy", valid=(1, 0))[1] == 0
    soft = np.stack([np.full((4, 4), 0.49), np.full((4, 4), 0.5)]).astype(np.float32)
    np.testing.assert_allclose(masked(2.0, "cross_entropy", mask=soft), masked(2.0, "cross_entropy"))


def test_a_coarse_mask_is_compared_with_the_mean_of_its_cells():
    mask = np.zeros((2, 8, 8), np.float32)
    mask[:, :4] = 1
    heads = {"mask": jnp.where(jnp.arange(2) == 0, 9.0, -9.0)[None, :, None, None] * jnp.ones((2, 2, 2, 1))}
    targets = {"mask": mask, "valid": np.ones(2, np.float32)}
    assert value("segmentation", heads, targets=targets, form="cross_entropy").max() < 1e-3


def test_reconstruction_is_compared_in_normalised_colours():
    image = np.full((2, 4, 4, 3), 0.5, np.float32)
    heads = {"reconstruction": jnp.full((2, 4, 4, 3), 0.4)}
    plain = value("reconstruction", heads, image, normalization="none")
    np.testing.assert_allclose(plain, [0.01, 0.01], rtol=1e-5)
    wanted = np.mean((0.1 / np.array([0.229, 0.224, 0.225])) ** 2)
    np.testing.assert_allclose(value("reconstruction", heads, image), [wanted, wanted], rtol=1e-5)
    of_bytes = value("reconstruction", heads, np.full((2, 4, 4, 3), 102, np.uint8))
    np.testing.assert_allclose(of_bytes, [0, 0], atol=1e-10)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("segmentation", {"form": "triple"}, r"losses\.segmentation\.form: found 'triple'"),
        ("reconstruction", {"normalization": "mean"}, r"losses\.reconstruction\.normalization: found 'mean'"),
    ],
)
def test_a_wrong_option_is_named(name, options, named):
    with pytest.raises(UserError, match=named):
        TERMS[name].check(options, f"losses.{name}")
