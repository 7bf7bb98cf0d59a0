"""Several forgeries in one run: who forges which row, and rows made on the host and on the device in one batch."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import images

from fdetect_jax.data.rows import TARGET, Slot
from fdetect_jax.errors import UserError
from fdetect_jax.forgery import FORGERIES, Mix, check_mix, deal, needs_context, weights_of
from fdetect_jax.forgery.base import Forged, Forgery, Scene
from fdetect_jax.forgery.mix import forge_rows
from fdetect_jax.losses.terms import contrastive
from fdetect_jax.train.detector import pair_up
from fdetect_jax.types import KINDS, Outputs

WANTED = ("kind", "method", "mask", "valid", "pair", "identity", "face")


@pytest.mark.parametrize(
    ("weights", "rows", "counts"),
    [
        ({"a": 1}, 5, (5,)),
        ({"a": 1, "b": 1}, 16, (8, 8)),
        ({"a": 2, "b": 2, "c": 1}, 10, (4, 4, 2)),
        ({"a": 3, "b": 1}, 16, (12, 4)),
        ({"a": 1000, "b": 1}, 4, (3, 1)),  # one at least
        ({"a": 1, "b": 1000, "c": 1}, 3, (1, 1, 1)),
        ({"a": 100, "b": 1, "c": 1}, 8, (6, 1, 1)),
        ({"a": 0.7, "b": 0.3}, 10, (7, 3)),
        ({"a": 1, "b": 1, "c": 1}, 8, (3, 3, 2)),
    ],
)
def test_rows_are_dealt_out_by_weight(weights, rows, counts):
    dealt = deal(weights, rows)
    assert len(dealt) == rows
    assert Counter(dealt) == dict(zip("abc", counts, strict=False))


def test_rows_are_spread():
    assert deal({"a": 1, "b": 1}, 8) == tuple("abababab")
    dealt = "".join(deal({"a": 3, "b": 1}, 16))
    assert all(dealt[start : start + 4].count("b") == 1 for start in range(0, 16, 4))


def test_devices_share_a_pattern():
    """Four devices with four rows each deal like one with sixteen, so that both see the same fakes."""
    assert deal({"a": 1, "b": 1}, 16) == 4 * deal({"a": 1, "b": 1}, 4)


def test_fewer_rows_than_forgeries():
    with pytest.raises(UserError, match=r"^batch_size: found 2 rows on each device for a mix of 3 forgeries"):
        deal({"a": 1, "b": 1, "c": 1}, 2)


class Painted:
    """A device forgery whose fakes are of one value; it may say what its mask and kind are."""

    def __init__(self, value, counterpart=True, real=None, **targets):
        self.value, self.counterpart, self.real, self.targets = value, counterpart, real, targets
        self.frozen = {"value": np.float32(value)}

    def forge(self, keys, scene):
        assert keys.shape == scene.images.shape[:1]
        mark = jax.vmap(jax.random.uniform)(keys)[:, None, None, None]
        own = jnp.full_like(scene.images, self.value).at[:, 0, 0, 0].set(scene.images[:, 0, 0, 0])
        metrics = {f"value/{self.value}": jnp.sum(scene.frozen["value"])}
        own = own.at[:, 0, 1, :].set(jnp.broadcast_to(mark[:, 0, 0], (len(keys), 3)))
        targets = {name: make(scene.images) for name, make in self.targets.items()}
        return Forged(own, self.real and scene.images * self.real, targets, {}, metrics)


def half(scene_images):
    return jnp.zeros(scene_images.shape[:3]).at[:, :2].set(1.0)


def spec(place, kind, **more):
    return Forgery("A title", kind, lambda setup: None, place, **more)


def mix(**changes):
    """One host forgery and two on the device."""
    made = {
        "pasted": lambda *_: None,
        "whole": Painted(0.25),
        "part": Painted(0.75, counterpart=False, mask=half),
    } | changes
    specs = {
        "pasted": spec("host", "swap"),
        "whole": spec("device", "entire synthesis"),
        "part": spec("device", "attribute"),
    }
    return Mix({"pasted": 2.0, "whole": 1.0, "part": 1.0}, specs, made)


COUNT, SIZE = 8, 4
DEALT = deal(mix().weights, COUNT)
HOST = [row for row, name in enumerate(DEALT) if name == "pasted"]
BATCH = {
    "image": np.asarray(255 * images(COUNT, SIZE), np.uint8),
    "forged": np.full((len(HOST), SIZE, SIZE, 3), 51, np.uint8)
    + np.arange(len(HOST), dtype=np.uint8)[:, None, None, None],
    TARGET + "identity": np.arange(10, 10 + COUNT, dtype=np.int32),
    TARGET + "face": np.full((COUNT, SIZE, SIZE), 255, np.uint8),
    TARGET + "mask": np.full((len(HOST), SIZE, SIZE), 102, np.uint8),
    TARGET + "kind": np.full(len(HOST), 5, np.int32),
    TARGET + "method": np.full(len(HOST), 1, np.int32),
    TARGET + "valid": np.array([1, 0, 1, 1], np.float32),
}


def forged(made, wanted=WANTED):
    keys = jax.random.split(jax.random.key(0), COUNT)

    @jax.jit
    def run(batch, frozen):
        scene = lambda faces, own: Scene(None, faces, own, jnp.int32(0), True)  # noqa: E731
        return made.forge(keys, batch, scene, frozen, wanted)

    _, *found = run(BATCH, made.frozen)
    return found, keys


def test_a_forgery_may_change_the_faces_that_its_fakes_are_compared_with():
    made = mix(whole=Painted(0.25, real=0.5))
    keys = jax.random.split(jax.random.key(0), COUNT)
    scene = lambda faces, own: Scene(None, faces, own, jnp.int32(0), True)  # noqa: E731
    reals, *_ = jax.jit(lambda rows: made.forge(keys, rows, scene, made.frozen, ()))(BATCH)
    for row, name in enumerate(DEALT):
        share = 0.5 if name == "whole" else 1.0
        np.testing.assert_allclose(reals[row], share * BATCH["image"][row] / 255, atol=1e-6)


def test_rows_of_host_and_device_keep_their_places():
    made = mix()
    (fakes, _, metrics), keys = forged(made)
    assert sorted(Counter(DEALT).items()) == [("part", 2), ("pasted", 4), ("whole", 2)]
    for row, name in enumerate(DEALT):
        if name == "pasted":
            np.testing.assert_allclose(fakes[row], BATCH["forged"][HOST.index(row)] / 255, atol=1e-6)
        else:
            assert fakes[row, 3, 3, 0] == made.made[name].value
            assert fakes[row, 0, 0, 0] == pytest.approx(BATCH["image"][row, 0, 0, 0] / 255)  # of its own face
            assert fakes[row, 0, 1, 0] == jax.random.uniform(keys[row])  # by its own key
    assert metrics == {"value/0.25": 0.25, "value/0.75": 0.75}


def test_every_row_has_its_own_targets():
    _, targets, _ = forged(mix())[0]
    assert set(targets) == set(WANTED)
    kinds = {"pasted": KINDS.index("swap"), "whole": KINDS.index("entire synthesis"), "part": KINDS.index("attribute")}
    assert targets["kind"].tolist() == [kinds[name] for name in DEALT]
    methods = {"pasted": 1, "whole": 2, "part": 3}
    assert targets["method"].tolist() == [methods[name] for name in DEALT]
    assert targets["identity"].tolist() == list(range(10, 10 + COUNT))
    assert (targets["face"] == 1).all()
    valid = iter(BATCH[TARGET + "valid"])
    for row, name in enumerate(DEALT):
        assert targets["valid"][row] == (next(valid) if name == "pasted" else 1)
        wanted = {"pasted": 0.4, "whole": 1.0, "part": np.asarray(half(np.zeros((1, SIZE, SIZE, 3))))[0]}[name]
        np.testing.assert_allclose(targets["mask"][row], np.broadcast_to(wanted, (SIZE, SIZE)), rtol=1e-6)
        assert targets["pair"][row] == (-1 if name == "part" else row)


def test_a_face_and_its_fake_in_one_batch():
    """Real faces first, with the values that a real face has, and the pair of its row."""
    (fakes, targets, _), _ = forged(mix())
    rows = pair_up(jnp.asarray(BATCH["image"]) / 255, fakes, targets)
    assert rows.label.tolist() == [0] * COUNT + [1] * COUNT
    assert rows.targets["kind"][:COUNT].tolist() == rows.targets["method"][:COUNT].tolist() == [0] * COUNT
    assert not rows.targets["mask"][:COUNT].any()
    assert (rows.targets["valid"][:COUNT] == 1).all()
    assert rows.targets["pair"][:COUNT].tolist() == list(range(COUNT))
    for name in ("identity", "face"):
        np.testing.assert_array_equal(rows.targets[name][:COUNT], rows.targets[name][COUNT:])


def test_what_is_no_counterpart_is_not_pushed_from_its_face():
    (fakes, targets, _), _ = forged(mix())
    rows = pair_up(jnp.asarray(BATCH["image"]) / 255, fakes, targets)

    def unlike(embedding):
        """The part of the loss that pushes apart: its gradient, where all that is alike coincides."""
        return jnp.sum(contrastive(Outputs(jnp.zeros((2 * COUNT, 2)), {"embedding": embedding}), rows, normalize=False))

    embedding = np.zeros((2 * COUNT, 2), np.float32)
    embedding[COUNT:, 0] = 0.5  # fakes alike, faces alike
    gradient = np.abs(jax.grad(unlike)(embedding)).sum(axis=1)
    alone = np.array([name == "part" for name in DEALT] * 2)
    assert (gradient[alone] < 1e-5).all()
    assert (gradient[~alone] > 0.1).all()


def test_no_more_targets_than_are_wanted():
    (_, targets, _), _ = forged(mix(), ("kind",))
    assert set(targets) == {"kind"}
    assert forged(mix(), ())[0][1] == {}


def test_a_mix_of_device_forgeries_alone():
    whole = Mix({"whole": 1.0}, {"whole": spec("device", "entire synthesis")}, {"whole": Painted(0.25)})
    (fakes, targets, _), _ = forged(whole, ("kind", "mask", "identity"))
    assert fakes.shape == BATCH["image"].shape
    assert targets["kind"].tolist() == [1] * COUNT
    assert targets["identity"].tolist() == BATCH[TARGET + "identity"].tolist()


def test_a_mix_of_host_forgeries_alone():
    weights = {"pasted": 1.0, "other": 1.0}
    made = {name: lambda *_: None for name in weights}
    both = Mix(weights, {name: spec("host", "swap") for name in weights}, made)
    assert both.frozen == both.device == {}
    rows = {**BATCH, "forged": BATCH["image"][::-1], TARGET + "kind": np.arange(COUNT, dtype=np.int32)}
    _, found, targets, metrics = both.forge(None, rows, None, {}, ("kind", "identity", "pair"))
    np.testing.assert_allclose(found, BATCH["image"][::-1] / 255, atol=1e-6)
    assert targets["kind"].tolist() == targets["pair"].tolist() == list(range(COUNT))
    assert metrics == {}


def test_slots_say_how_each_row_is_made_on_the_host():
    made = mix()
    slots = made.slots(COUNT)
    assert [slot.forge is None for slot in slots] == [name != "pasted" for name in DEALT]
    assert slots[HOST[0]] == Slot(made.made["pasted"], False, KINDS.index("swap"), 1)
    assert not made.context


def test_clips_are_forged_frame_by_frame_by_one_key():
    clips = jnp.asarray(images(6, SIZE).reshape(2, 3, SIZE, SIZE, 3))
    keys, seen = jax.random.split(jax.random.key(0), 2), []

    def classify(given):
        seen.append(given.shape)
        return jnp.stack([jnp.arange(2.0), jnp.arange(2.0)], axis=1)

    class Asks(Painted):
        def forge(self, keys, scene):
            assert scene.classify(scene.images)[:, 0].tolist() == [0, 0, 0, 1, 1, 1]  # of its clip
            return super().forge(keys, scene)

    scene = Scene(classify, clips, {"value": 1.0}, jnp.int32(0), True)
    found = forge_rows(Asks(0.5, mask=half), keys, scene)
    assert seen == [(2, 3, SIZE, SIZE, 3)]
    assert found.image.shape == (2, 3, SIZE, SIZE, 3)
    assert found.targets["mask"].shape == (2, 3, SIZE, SIZE)
    np.testing.assert_array_equal(found.image[:, :, 0, 0, 0], clips[:, :, 0, 0, 0])
    for clip in found.image[:, :, 0, 1, 0]:
        assert len(set(clip.tolist())) == 1


def test_the_registry():
    device = ["latent", "reconstruction", "generated"]
    assert list(FORGERIES) == [*device, "swap", "sbi", "fwa", "given", "composite", "resample"]
    places = {name: one.place for name, one in FORGERIES.items()}
    assert [name for name, place in places.items() if place == "device"] == device
    assert {name for name, one in FORGERIES.items() if one.crop == "context"} == {"sbi", "fwa", "given"}
    assert {name: one.kind for name, one in FORGERIES.items()} == {
        "latent": "entire synthesis",
        "reconstruction": "entire synthesis",
        "generated": "entire synthesis",
        "swap": "swap",
        "sbi": "swap",
        "fwa": "swap",
        "given": "unknown",
        "composite": "attribute",
        "resample": "entire synthesis",
    }


@pytest.mark.parametrize(("field", "value"), [("place", "cloud"), ("crop", "loose"), ("kind", "paste")])
def test_a_forgery_registered_wrongly(field, value):
    with pytest.raises(ValueError, match=rf"forgery 'X': found {field} '{value}', wanted"):
        Forgery("X", **({"kind": "swap", "make": lambda setup: None} | {field: value}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mix": {}}, r"^forgery\.mix: found no weight above 0, wanted one for some of"),
        ({"mix": {"swap": 0.0}}, r"^forgery\.mix: found no weight above 0"),
        ({"mix": {"swap": -1.0}}, r"^forgery\.mix\.swap: found -1\.0, wanted a weight of 0 or more"),
        ({"mix": {"swap": float("nan")}}, r"^forgery\.mix\.swap: found nan"),
        (
            {"mix": {"paste": 1.0}},
            r"^forgery\.mix: found 'paste', wanted some of \['composite', 'fwa', 'generated'",
        ),
        ({"mix": {"swap": 1.0}, "swap": {"size": 1}}, r"^forgery\.swap\.size: found 1, wanted no such field"),
        ({"mix": {"latent": 1.0}}, r"^forgery\.latent\.dtype: found no such field"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        check_mix(options, None)


def test_what_has_no_weight_is_not_looked_at():
    options = {"mix": {"swap": 1.0, "sbi": 0.0, "latent": 0}, "latent": {"nothing": "fits"}}
    check_mix(options, None)
    assert weights_of(options) == {"swap": 1.0}
    assert not needs_context(options)
    assert needs_context({"mix": {"swap": 1.0, "sbi": 0.5}})
