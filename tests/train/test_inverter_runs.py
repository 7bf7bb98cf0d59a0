"""An inverter from its two trainers, and a detector trained against it: the shipped configs, shrunk."""

from pathlib import Path

import jax
import numpy as np
import pytest

from fdetect_jax import parallel, weights
from fdetect_jax.config import check
from fdetect_jax.convert.pretrained import start_from
from fdetect_jax.errors import UserError
from fdetect_jax.train.trainers import make_task
from fdetect_jax.train.writer import read_history
from tests import tiny
from tests.small import moved, run, small_adv, small_gan, small_inversion
from tests.strict import guarded_steps

pytestmark = pytest.mark.timeout(900)  # the first test also compiles and runs both trainers: up to four minutes


@pytest.fixture(scope="module")
def inverter(tmp_path_factory) -> str:
    """An inverter made by the two trainers, one after the other."""
    folder = tmp_path_factory.mktemp("inverter")
    found = run(small_gan(), folder / "gan")
    assert {"psnr/encoder", "ssim/encoder"} <= found["figures"].keys()
    found = run(small_inversion(str(folder / "gan" / "inverter")), folder / "inversion")
    assert {"psnr/encoder", "psnr/hyper"} <= found["figures"].keys()
    made = folder / "inversion" / "inverter"
    assert (made / "README.md").is_file()
    assert (made / "samples.png").is_file()
    return str(made)


def test_gan_and_inversion_log_their_terms(inverter):
    folder = Path(inverter).parents[1]
    gan = read_history(folder / "gan")[-1]
    assert {"loss/discriminator", "loss/generator", "loss/r1", "loss/path_length", "loss/reconstruction"} <= gan.keys()
    assert min(gan[f"loss/{name}"] for name in ("discriminator", "r1", "path_length", "reconstruction")) > 0
    assert {"loss/encoder_l2", "loss/hyper_l2"} <= read_history(folder / "inversion")[-1].keys()


def test_adversarial_run_reports_the_attack_and_the_tests(inverter, tmp_path):
    found = run(small_adv(inverter), tmp_path)
    for name in ("gan_inverted", "adversarial", "swap"):
        assert {"accuracy", "auc", "eer", "ap", "n_real", "n_fake"} <= found["tests"][name].keys()
    assert found["tests"]["gan_inverted"]["n_real"] == 6
    history = read_history(tmp_path)
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    for row in history:
        assert row["p_fake/adversary"] < row["p_fake/reconstruction"]
        assert row["delta_norm"] <= 4.0 + 1e-4
    html = (tmp_path / "report.html").read_text()
    assert "http-equiv" not in html
    assert "adversary" in html
    config, _, notes = weights.read(tmp_path / "detector.safetensors", "detector")
    assert config["name"] == "efficientnet_small64"
    assert notes["size"] == "32"


def test_a_step_of_the_gan_copies_nothing_between_host_and_devices():
    for state, metrics in guarded_steps(make_task(small_gan()), 2):
        assert int(state.step) > 0
        assert np.isfinite(metrics["loss/generator"])


def test_the_adversarial_game_of_the_inversion_starts_when_it_is_due(inverter):
    config = small_inversion(str(Path(inverter).parents[1] / "gan" / "inverter"))
    config.losses.adversarial.update(weight=0.1, start=1, r1_interval=1)
    check(config)
    task, seen = make_task(config), []
    before = parallel.Devices().first_state(task.init, 0, task.start).variables["discriminator"]["params"]
    for state, metrics in guarded_steps(task, 2):
        after = jax.tree.map(np.array, state.variables["discriminator"]["params"])
        seen.append(moved(before, after))
        before = after
        assert min(metrics[f"loss/{name}"] for name in ("discriminator", "r1", "adversarial")) > 0
    assert seen == [False, True]


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (
            {"resolutions": 32},
            r"discriminator\.safetensors: discriminator\.resolutions: found 32, wanted no such field",
        ),
        ([1], r"discriminator\.safetensors: discriminator: found \[1\], wanted the fields"),
        ({"resolution": 32, "group_size": 0}, r"found other arrays than its discriminator has"),
    ],
)
def test_a_damaged_discriminator_is_named(config, wanted, tmp_path):
    tiny.save_pair(tmp_path)
    weights.save(tmp_path / "discriminator.safetensors", "discriminator", config, {"params": {"a": np.zeros(1)}})
    run_config = small_inversion(str(tmp_path))
    run_config.freeze_batch_stats, run_config.losses.adversarial.weight = False, 0.1
    with pytest.raises(UserError, match=wanted):
        make_task(run_config)


def test_weights_of_no_network_are_refused(tmp_path):
    weights.save(tmp_path / "w.safetensors", "detector", {}, {"alone": np.zeros(1)})
    with pytest.raises(UserError, match=r"^detector\.weights: .*found no array of this network"):
        start_from(str(tmp_path / "w.safetensors"), {"params": {"fc": {"bias": np.zeros(2)}}})
