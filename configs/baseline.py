"""Ordinary classification: real faces against blended swaps, no generator in training.

    python -m fdetect_jax.main --config=configs/baseline.py
    python -m fdetect_jax.main --config=configs/baseline.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/baseline.py:mixture --config.data.parts.photographs.root=DIR
    python -m fdetect_jax.main --config=configs/baseline.py:paper --config.data.source=prepared \
        --config.data.root=DIR --config.forgery.mix.given=1 --config.forgery.mix.swap=0 \
        --config.evaluation.skip="('latent',)"

The last command trains on dataset fakes, such as those of FaceForensics++ in the DIR of `fdetect prepare
faceforensics --root DOWNLOAD --output DIR --compression c23`.

Detector, data, optimiser and held-out tests are those of ``configs/adv.py``; only the fakes differ, and the
loss is cross-entropy alone. A step costs a fraction of one with an attack, so the small runs take more steps.
"""

from configs import common


def get_config(variant: str = "facesim"):
    config = common.detector(f"Baseline: blended swaps ({variant})", variant, "configs/baseline.py")
    config.forgery = common.forgery(config.evaluation.forgeries.latent.inverter, swap=1.0)
    if variant != "paper":
        config.steps = 400
    return config
