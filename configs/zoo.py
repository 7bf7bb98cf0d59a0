"""Every detector side by side: one mix of forgeries, the same held-out tests, small presets for 64 px.

    python -m fdetect_jax.main --config=configs/zoo.py
    python -m fdetect_jax.main --config=configs/zoo.py:folder --config.data.root=DIR

One table, with several seeds; the same command resumes it, detector by detector. ``PRESETS`` holds what each detector
changes: its network, its terms of the loss, its optimiser. The fakes are self-blends, blended swaps, warping artefacts,
reconstructions and latent adversaries; composites, traces of enlargement and another generator's faces are only tested.
``configs/README.md`` has what was found.
"""

from configs import common, deepfd

_NO_ENTROPY = {"cross_entropy": {"weight": 0.0}}
_RESNET = {"width": 0.25, "units": (1, 1, 1, 1), "pool": False, "bn_momentum": 0.9}
_XCEPTION = {"width": 0.125, "blocks": 2, "stem_stride": 1}

# Name -> title and the fields that differ from the shared ones. The networks are as small as 64 px allow; each
# detector's own config has the authors' sizes.
PRESETS = {
    "efficientnet": {"title": "EfficientNet, small"},
    "multiresolution": {
        "title": "Attention and ArcFace",
        "detector": {"name": "multiresolution", "overrides": {"trunk": "small64", "attention": 32}},
        "losses": _NO_ENTROPY | {"arcface": {"weight": 1.0, "margin": 0.5, "scale": 16.0, "form": "true"}},
    },
    "meso4": {
        "title": "Meso-4",
        "detector": {"name": "meso4", "overrides": {"size": 64, "bn_momentum": 0.9}},
        "losses": _NO_ENTROPY | {"squared_error": {"weight": 1.0}},
    },
    "mesoinception4": {
        "title": "MesoInception-4",
        "detector": {"name": "mesoinception4", "overrides": {"size": 64, "bn_momentum": 0.9}},
        "losses": _NO_ENTROPY | {"squared_error": {"weight": 1.0}},
    },
    "capsule_v1": {
        "title": "Capsule-Forensics, version 1",
        "detector": {"name": "capsule_v1", "overrides": {"width": 0.25}},
        "losses": _NO_ENTROPY | {"capsule": {"weight": 1.0}},
    },
    "capsule_v2": {
        "title": "Capsule-Forensics, version 2",
        "detector": {"name": "capsule_v2", "overrides": {"width": 0.25}},
        "losses": _NO_ENTROPY | {"capsule": {"weight": 1.0}},
    },
    "classnseg": {
        "title": "ClassNSeg",
        "detector": {"name": "classnseg", "overrides": {}},
        "losses": _NO_ENTROPY
        | {
            "activation": {"weight": 1.0},
            "segmentation": {"weight": 0.3, "form": "cross_entropy"},
            "reconstruction": {"weight": 0.1, "normalization": "imagenet"},
        },
    },
    "deepfd": {
        "title": "DeepFD, pairs first",
        "detector": {"name": "deepfd", "overrides": {"channels": (32, 48, 64), "init": "he", "bn_momentum": 0.9}},
        "losses": {"contrastive": {"weight": 1.0, "margin": 0.5, "pairs": "all", "normalize": False}},
        "objective": {"mode": "staged", "stages": deepfd.STAGES},
    },
    "xception": {
        "title": "Xception",
        "detector": {"name": "xception", "overrides": _XCEPTION},
    },
    "ffd": {
        "title": "FFD: Xception with a map",
        "detector": {"name": "ffd", "overrides": {"trunk_overrides": _XCEPTION}},
        "losses": {"map": {"weight": 1.0, "truth": "mask"}},
    },
    "fwa": {
        "title": "FWA, small ResNet",
        "detector": {"name": "fwa", "overrides": {"trunk_overrides": _RESNET}},
    },
    "dsp_fwa": {
        "title": "DSP-FWA",
        "detector": {"name": "dsp_fwa", "overrides": {"trunk_overrides": _RESNET, "levels": (1, 2, 4)}},
    },
    "attribution": {
        "title": "GAN fingerprints, attribution",
        "detector": {"name": "attribution", "overrides": {"size": 64, "fmap_base": 256}},
    },
    "fingerprints": {
        "title": "GAN fingerprints, explicit",
        "detector": {"name": "fingerprints", "overrides": {"size": 64, "fmap_base": 128}},
        "losses": {"reconstruction_l1": {"weight": 20.0}},
    },
}


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder"):
        raise ValueError(f"configs/zoo.py: found variant {variant!r}, wanted facesim or folder")
    config = common.detector(f"The zoo ({variant})", variant, "configs/zoo.py")
    config.task, config.seeds, config.comparisons, config.sweeps = "table", 2, (), {}
    config.batch_size, config.steps, config.log_every = 20, 144, 12  # a row of each forgery for four devices
    inverter = config.evaluation.forgeries.latent.inverter
    mix = dict.fromkeys(("sbi", "swap", "fwa", "reconstruction", "latent"), 1.0)
    config.forgery = common.forgery(inverter, **mix)
    config.forgery.latent.attack.steps = 2
    config.losses.contrastive.weight = 0.0
    config.optimizer.update(learning_rate=0.002, b2=0.999)
    config.optimizer.sam.rho = 0.0
    config.evaluation.update(calibrate=False, speed=True)
    config.variants = PRESETS
    config.rows = tuple(PRESETS)
    return config
