"""MesoNet: Meso-4 and MesoInception-4, small networks that look at the texture of a face.

    python -m fdetect_jax.main --config=configs/meso.py
    python -m fdetect_jax.main --config=configs/meso.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/meso.py:paper --config.data.source=prepared --config.data.root=DIR \
        --config.forgery.mix.given=1 --config.forgery.mix.swap=0

Afchar et al. 2018 (arXiv 1809.00888). The last command trains at 256 px on dataset fakes, as the authors' code does:
squared error of P(real), Adam at 1e-3, divided by ten every 1000 steps, batches of 75 faces (here 40 real and as many
fakes). The others train at 64 px on blended swaps and reconstructions of a generator. ``detector.name`` is "meso4" (the
default) or "mesoinception4". ``fdetect convert mesonet`` reads the authors' weights.
``fdetect predict --aggregation votes --frames 30`` scores a video as their pipeline does, by the share of its frames
that are fake.

The paper's accuracy on its Deepfake set: Meso-4 0.891 of frames and 0.969 of videos, MesoInception-4 0.917 and 0.984.
Neither these nor what the small runs reach were measured here.
"""

from configs import common


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder", "paper"):
        raise ValueError(f"configs/meso.py: found variant {variant!r}, wanted facesim, folder or paper")
    config = common.detector(f"MesoNet ({variant})", variant, "configs/meso.py")
    paper = variant == "paper"
    if paper:
        config.data = common.folder("sbi", 256) | {"workers": 8}
    mix = {"swap": 1.0} if paper else {"swap": 1.0, "reconstruction": 1.0}
    config.forgery = common.forgery(config.evaluation.forgeries.latent.inverter, **mix)
    config.detector.update(name="meso4", dtype="float32")
    config.detector.overrides = {"size": config.data.size}
    config.losses.cross_entropy.weight = 0.0
    config.losses.contrastive.weight = 0.0
    config.losses.squared_error = {"weight": 1.0}
    config.optimizer.update(name="adam", learning_rate=0.001, momentum=0.9, b2=0.999, decay_after=1.0)
    config.optimizer.sam.rho = 0.0
    config.steps = 400
    if paper:
        config.batch_size, config.steps = 40, 4000
        config.optimizer.staircase.every = 1000
        config.augment.update(brightness=0.1, hue=0.03, scale=(0.9, 1.1))
    return config
