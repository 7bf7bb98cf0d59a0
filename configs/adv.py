"""A detector that learns from its own adversaries (Algorithm 1).

    python -m fdetect_jax.main --config=configs/adv.py
    python -m fdetect_jax.main --config=configs/adv.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/adv.py:mixture --config.data.parts.photographs.root=DIR
    python -m fdetect_jax.main --config=configs/adv.py:paper --config.data.source=prepared --config.data.root=DIR \
        --config.forgery.latent.inverter=DIR \
        --config.evaluation.forgeries.latent.inverter=DIR

The default trains a small EfficientNet on procedural faces of 64 px against the bundled inverter; ``:folder`` trains
on a folder of photographs with the inverter for real faces, ``:mixture`` on three photographs to every procedural face.
A tenth of their loss is contrastive: of the variants in Table 1 this is the best on unseen forgeries
(configs/README.md). ``--config.forgery.mix.sbi=1`` adds self-blended images to the fakes. ``:paper`` uses the paper's
numbers: EfficientNet-B4 at 380 px, batch 16, learning rate 0.001, 100 epochs with the last 25 decaying linearly to
zero, SAM, s = 10, ε = 4 in L2, on 10 % of FaceForensics++.
"""

from configs import common


def get_config(variant: str = "facesim"):
    config = common.detector(f"Algorithm 1: latent adversaries ({variant})", variant, "configs/adv.py")
    config.forgery = common.forgery(config.evaluation.forgeries.latent.inverter, latent=1.0)
    config.forgery.latent = config.evaluation.forgeries.latent.to_dict()
    if variant != "paper":
        config.objective.lam = 0.9
        # Steps over which adversaries replace reconstructions; without them seed 1 does not learn in 64 steps.
        config.forgery.latent.warmup = 40
    return config
