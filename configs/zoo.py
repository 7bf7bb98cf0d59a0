"""Every detector side by side: one mix of forgeries, the same held-out tests, small presets for 64 px.

    python -m fdetect_jax.main --config=configs/zoo.py
    python -m fdetect_jax.main --config=configs/zoo.py:folder --config.data.root=DIR

One table, with several seeds; the same command resumes it, detector by detector. ``PRESETS`` holds what each detector
changes: its network, its terms of the loss, its optimiser. ``configs/README.md`` has what was found.
"""

from configs import common

# Name -> title and the fields that differ from the shared ones. The networks are as small as 64 px allow; each
# detector's own config has the authors' sizes.
PRESETS = {
    "efficientnet": {"title": "EfficientNet, small"},
    "ffd": {
        "title": "FFD",
        "detector": {
            "name": "ffd",
            "overrides": {"trunk_overrides": {"width": 0.125, "blocks": 2, "stem_stride": 1}},
        },
        "losses": {"map": {"weight": 1.0, "truth": "mask"}},
    },
    "meso4": {
        "title": "Meso-4",
        "detector": {"name": "meso4", "overrides": {"size": 64, "bn_momentum": 0.9}},
        "losses": {"cross_entropy": {"weight": 0.0}, "squared_error": {"weight": 1.0}},
    },
    "multiresolution": {
        "title": "Attention and ArcFace",
        "detector": {"name": "multiresolution", "overrides": {"trunk": "small64", "attention": 32}},
        "losses": {"cross_entropy": {"weight": 0.0}, "arcface": {"weight": 1.0, "margin": 0.5, "scale": 16.0}},
    },
    "xception": {
        "title": "Xception",
        "detector": {"name": "xception", "overrides": {"width": 0.125, "blocks": 2, "stem_stride": 1}},
    },
}


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder"):
        raise ValueError(f"configs/zoo.py: found variant {variant!r}, wanted facesim or folder")
    config = common.detector(f"The zoo ({variant})", variant, "configs/zoo.py")
    config.task, config.seeds, config.comparisons, config.sweeps = "table", 2, (), {}
    config.steps, config.log_every = 160, 10
    inverter = config.evaluation.forgeries.latent.inverter
    config.forgery = common.forgery(inverter, sbi=1.0, swap=1.0, reconstruction=1.0)
    config.losses.contrastive.weight = 0.0
    config.optimizer.update(learning_rate=0.002, b2=0.999)
    config.optimizer.sam.rho = 0.0
    config.evaluation.calibrate = False
    config.variants = PRESETS
    config.rows = tuple(PRESETS)
    return config
