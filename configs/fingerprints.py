"""GAN fingerprints: which generator made a face.

    python -m fdetect_jax.main --config=configs/fingerprints.py
    python -m fdetect_jax.main --config=configs/fingerprints.py:explicit
    python -m fdetect_jax.main --config=configs/fingerprints.py:paper --config.data.source=prepared \
        --config.data.root=DIR --config.forgery.one.inverter=DIR --config.forgery.two.inverter=DIR \
        --config.forgery.three.inverter=DIR --config.forgery.four.inverter=DIR

Yu, Davis and Fritz 2019 (arXiv 1811.08180). The classes are real faces and the random faces of each generator of the
mix. The default trains the attribution network and ``:explicit`` the detector with explicit fingerprints, which the
report draws: at 64 px, on drawn faces and three of the bundled generators. The fourth, ``facesim64_wide``, is not
trained on: the report says how many of its faces are like none of the classes. With it in the mix,

    --config.forgery.mix.facesim64_wide_samples=1 --config.detector.overrides.num_classes=5

there are four generators and no unseen one.

``:paper`` and ``:paper_explicit`` have the authors' networks at 128 px and their optimiser: Adam at 0.001 with β 0 and
0.99, 32 faces a step, mirrored, for 100 and 25 million faces; four generators of your own are named as above. Half of
the faces of a step are real, where the authors' code has as many of each class: here the loss weighs the classes alike
(``losses.methods.balanced``). The critic of ``:paper_explicit`` and the autoencoder move in the same step, where the
authors' take turns (``losses/fingerprints.py``).
``detector.overrides.mode`` and ``switch`` restrict the attribution network to patches or to low frequencies.

The authors' accuracies are in section 4 of the paper; they were not measured here. ``configs/README.md`` has what the
small runs reached.
"""

from configs import common

UNSEEN = "facesim64_wide"
_OWN = ("one", "two", "three", "four")
_VARIANTS = ("facesim", "explicit", "paper", "paper_explicit")


def get_config(variant: str = "facesim"):
    if variant not in _VARIANTS:
        raise ValueError(f"configs/fingerprints.py: found variant {variant!r}, wanted {', '.join(_VARIANTS)}")
    paper, explicit = variant.startswith("paper"), variant.endswith("explicit")
    base = "paper" if paper else "facesim"
    config = common.detector(f"GAN fingerprints ({variant})", base, "configs/fingerprints.py")
    samples = _own_samples() if paper else common.samples()
    trained = [name for name in samples if not name.startswith(f"{UNSEEN}_")]
    config.forgery = {"mix": {name: float(name in trained) for name in samples}, **samples}
    config.evaluation.forgeries = samples
    config.evaluation.skip = ("swap", "composite", "resample", "sbi", "fwa")
    config.augment = common.no_augment() | {"flip": 0.5}
    network = {"size": 128} if paper else {"size": 64, "fmap_base": 256}
    config.detector.update(name="fingerprints" if explicit else "attribution", dtype="float32")
    config.detector.overrides = network | {"num_classes": 1 + len(trained)}
    config.losses = {"cross_entropy": {"weight": 0.0}, "methods": {"weight": 1.0, "balanced": True}}
    if explicit:
        config.detector.overrides.critic = paper
        config.losses.update(reconstruction_l1={"weight": 20.0}, critic={"weight": 0.1 if paper else 0.0})
    config.optimizer.update(name="adam", learning_rate=0.001, momentum=0.0, b2=0.99, decay_after=1.0)
    config.optimizer.sam.rho = 0.0
    if paper:
        config.data = common.folder("aligned64", 128) | {"workers": 8}
        config.optimizer.average = 0.999
        config.steps, config.log_every, config.checkpoint_every = (25 if explicit else 100) * 10**6 // 32, 100, 10_000
    else:
        config.optimizer.update(learning_rate=0.002, decay_after=0.5)
        config.steps, config.log_every, config.checkpoint_every = 400, 10, 100
    return config


def _own_samples() -> dict[str, dict]:
    return {
        name: {"forgery": "generated", "title": f"Samples of generator {name}", **common.generated("")} for name in _OWN
    }
