"""Host forgeries by name, and the rows of a training that several of them share."""

import cv2
import numpy as np
import pytest

from fdetect_jax.data.rows import MakeRow, Slot
from fdetect_jax.faces.crop import face_crop, make_recipe
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.forgery import FORGERIES, Setup, make_forgery, make_mix, needs_context
from fdetect_jax.types import KINDS, ForgedPair

RECIPE = make_recipe("sbi", 64)


def context_crop(number):
    """A context crop with its box, of one person each."""
    drawn = FaceSim("test", 96, 3, 1)[number]
    image = cv2.copyMakeBorder(drawn["image"], 30, 12, 25, 25, cv2.BORDER_REFLECT_101)
    landmarks = drawn["landmarks"] + np.float32([25, 30])
    box = np.r_[landmarks.min(0), landmarks.max(0)]
    return {"image": image, "landmarks": landmarks, "box": box, "identity": drawn["identity"]}


class Crops:
    """Context crops of three people."""

    size, recipe, fingerprint, video = 64, RECIPE, "crops", False
    groups = np.arange(3)

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return context_crop(index)


@pytest.mark.parametrize(
    ("weights", "context"),
    [({"swap": 1}, False), ({"sbi": 1}, True), ({"swap": 1, "fwa": 1}, True), ({"latent": 1, "given": 1}, True)],
)
def test_which_mixes_take_context_crops(weights, context):
    assert needs_context({"mix": weights}) == context


def test_a_mix_takes_each_forgery_equally_often_and_as_it_is():
    faces = FaceSim("test", 64, 4, 2)
    mix = make_mix({"mix": {"swap": 1.0, "sbi": 1.0}}, None, "train", None, True)
    make = MakeRow(faces, mix.slots(8), targets=("kind", "method", "mask"))
    for position in range(8):
        row = make((position, position % 3), np.random.default_rng(position))
        name = ("swap", "sbi")[position % 2]
        rng = np.random.default_rng(position)
        donor = lambda rng=rng, index=position % 3: make._donor(faces[index], index, rng)  # noqa: E731
        alone = make_forgery(name, {}, None, "train", None, True)(rng, faces[position % 3], donor)
        np.testing.assert_array_equal(row["forged"], alone.fake)
        np.testing.assert_array_equal(row["image"], alone.real)
        assert (row["target/kind"], row["target/method"]) == (KINDS.index("swap"), 1 + position % 2)


@pytest.mark.parametrize("training", [True, False])
def test_of_context_crops_a_swap_gets_face_crops(training):
    seen = []

    def swap(rng, face, donor):
        other = donor()
        seen.extend([face, other])
        return ForgedPair(face["image"], other["image"], np.ones((64, 64), np.float32))

    make = MakeRow(
        Crops(), (Slot(swap), Slot(FORGERIES["sbi"].make(Setup({}, RECIPE, training)), True)), training=training
    )
    make((0, 0), np.random.default_rng(0))
    people = [int(context_crop(number)["identity"]) for number in range(3)]
    numbers = [people.index(face["identity"]) for face in seen]
    assert len(set(numbers)) == 2
    for face, number in zip(seen, numbers, strict=True):
        assert face["image"].shape == (64, 64, 3)
        assert "box" not in face
        assert np.array_equal(face["image"], face_crop(context_crop(number), RECIPE)["image"]) != training
    assert make((1, 0), np.random.default_rng(0))["forged"].shape == (64, 64, 3)


def test_a_row_of_a_device_forgery_is_the_face_crop_alone():
    row = MakeRow(Crops(), (Slot(),), targets=("identity", "kind", "mask"), training=False)((0, 1), None)
    np.testing.assert_array_equal(row["image"], face_crop(context_crop(1), RECIPE)["image"])
    assert set(row) == {"image", "target/identity"}  # kind and mask are the device's to say
