"""DeepFD: a detector of GANs that learns from pairs first, tested on a generator that it was not trained on.

    python -m fdetect_jax.main --config=configs/deepfd.py
    python -m fdetect_jax.main --config=configs/deepfd.py:leave_one_out
    python -m fdetect_jax.main --config=configs/deepfd.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/deepfd.py:paper --config.data.source=prepared --config.data.root=DIR \
        --config.forgery.mix.given=1 --config.forgery.mix.swap=0 --config.data.leave_out.generator="('PGGAN',)" \
        --config.evaluation.skip="('latent',)"

Hsu, Lee and Zhuang 2018 (arXiv 1809.08754). The default trains a small network at 64 px on samples of three bundled
generators and tests it on a fourth as well. In the first 2 of 15 parts of the training a contrastive loss teaches the
feature which faces are of one class; then cross-entropy teaches the classifier. Both at once:
--config.objective.mode=joint --config.objective.stages="()" --config.objective.lam=0.5

``:leave_one_out`` is a table with a row for each generator that is left out; ``configs/README.md`` has what was found.
``:paper`` has the authors' network, initial weights and optimiser, and trains on the fakes of a data set whose
``manifest.csv`` names a generator for each, without one of them. ``detector.name=deepfd_coupled`` with
``losses.triplet`` is the network of 2019; ``detector.overrides.residual=colour`` reads the residual of the colour.

The abstract's detection rate of fakes of several GANs is 94.7 %. The authors' notebook of the coupled network shows an
accuracy of 0.707 on PGGAN, which it was not trained on. Neither was measured here.
"""

from configs import common

_VARIANTS = ("facesim", "leave_one_out", "folder", "paper")
_EPOCH = 2 * 192_599 // 32  # steps of the authors' lists, of as many real faces as fakes, in batches of 32
# The authors' 15 epochs: two of pairs, then the classifier.
STAGES = (
    {"share": 2 / 15, "terms": ("contrastive",), "trainable": ("*",)},
    {"share": 13 / 15, "terms": ("cross_entropy",), "trainable": ("*",)},
)


def get_config(variant: str = "facesim"):
    if variant not in _VARIANTS:
        raise ValueError(f"configs/deepfd.py: found variant {variant!r}, wanted {', '.join(_VARIANTS)}")
    data = "facesim" if variant == "leave_one_out" else variant
    config = common.detector(f"DeepFD ({variant})", data, "configs/deepfd.py")
    inverter = config.evaluation.forgeries.latent.inverter
    # Random flips, and a saturation and a contrast within 5 %; a brightness within 0.0002 is left out.
    config.augment = common.no_augment() | {"flip": 0.5, "saturation": 0.05, "contrast": 0.05}
    config.losses.contrastive.update(margin=0.5, pairs="all", normalize=False)
    config.objective.update(mode="staged", stages=STAGES)
    config.optimizer.update(name="adam", learning_rate=0.001, momentum=0.9, b2=0.999, decay_after=1.0)
    config.optimizer.sam.rho = 0.0
    config.detector.update(name="deepfd", dtype="float32")
    if variant == "paper":
        config.data = common.folder("aligned64", 64) | {"workers": 8}
        config.forgery = common.forgery(inverter, swap=1.0)
        config.detector.overrides = {"size": 64}
        config.steps = 15 * _EPOCH
        config.optimizer.staircase.update(every=3 * _EPOCH, times=1)
        return config
    config.detector.overrides = {"size": 64, "channels": (32, 48, 64), "init": "he", "bn_momentum": 0.9}
    config.steps = 150
    samples = common.samples()
    config.forgery = common.forgery(inverter)
    config.forgery.update(samples)
    config.forgery.mix.update(dict.fromkeys(samples, 1.0))
    del config.evaluation.forgeries.other_generator
    config.evaluation.forgeries.update(samples)
    if variant == "leave_one_out":
        _leave_one_out(config)
    else:
        left_out = "facesim64_wide" if data == "facesim" else "faces64_wide"
        config.forgery.mix[f"{left_out}_samples"] = 0.0
    return config


def _leave_one_out(config) -> None:
    """Makes it a table of trainings that differ in the generator whose samples they do not see."""
    config.task, config.seeds, config.comparisons, config.sweeps = "table", 2, (), {}
    config.steps = 100
    config.evaluation.update(calibrate=False, limit=64)
    config.evaluation.skip = ("latent", "swap", "sbi", "fwa", "composite", "resample")
    config.variants = {
        f"without_{name}": {"title": f"Without {name}", "forgery": {"mix": {f"{name}_samples": 0.0}}}
        for name in common.GENERATORS
    }
    config.rows = tuple(f"without_{name}" for name in common.GENERATORS)
