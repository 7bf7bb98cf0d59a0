"""The bundled detector: two EfficientNet-Lite0 on labelled faces of many sources and on forgeries made of real ones.

    fdetect prepare folder --root LABELLED --output DIR --recipe sbi --size 192
    python -m fdetect_jax.main --config=configs/release.py --config.data.root=DIR

trains both, joins them, fits the thresholds on the validation split and tests the whole. On two cores the trainings
took 58 and 76 minutes.
LABELLED is a folder with a ``manifest.csv`` (path, label, type, generator, source, group); the bundled detector's is
described in its card: labelled faces, and 5,000 photographs of All-Age-Faces as one more source of real ones. The
trunk's ImageNet weights are fetched once.

``:audit`` leaves out four generators and four sources, trains the second network on the rest, and tests each that was
left out.

    python -m fdetect_jax.main --config=configs/release.py:mixes --config.data.root=SMALL

compares mixes of forgeries and networks on what was left out, with three seeds: 200 steps each, on faces of 128 px
(SMALL: prepared with --size 128). ``configs/README.md`` has what was found.
"""

from configs import common

# Entire synthesis and a swap, and the sources of real faces that go with them.
LEFT_OUT = {
    "generator": (
        "StyleGAN2 (NVlabs samples, 256px)",
        "StyleGAN2 FFHQ 1024",
        "FLUX.1-dev + person LoRA",
        "DeepFaceLab DFM / DeepFaceLive",
    ),
    "source": (
        "T0NY24/Ecuadorian-political-deepfake-dataset",
        "iperov/DeepFaceLive",
        "sergibot/FakeFacesSurvey",
        "npm:fake-avatars (leafac/fake-avatars)",
    ),
}
_PHOTOGRAPHS = "All-Age-Faces"  # a source of real faces alone
_VARIANTS = ("experts", "audit", "mixes")
_MIX = {"given": 2.0, "sbi": 1.0}
_COMPOSITES = _MIX | {"composite": 1.0}
# Of the second network: more faces as small, soft, off-centre and pale as people have them.
_STRONGER = {
    "translate": 0.08,
    "scale": (0.8, 1.2),
    "contrast": 0.25,
    "saturation": 0.4,
    "blur_sigma": (0.3, 2.0),
    "resample": 0.5,
    "resample_factor": (0.25, 1.0),
}


def get_config(variant: str = "experts"):
    if variant not in _VARIANTS:
        raise ValueError(f"configs/release.py: found variant {variant!r}, wanted {', '.join(_VARIANTS)}")
    config = common.detector(f"The bundled detector ({variant})", "folder", "configs/release.py")
    config.data = common.folder("sbi", 192) | {
        "source": "prepared",
        "workers": 1,
        "balance": 0.5,
    }
    if variant in ("audit", "mixes"):
        config.data.leave_out = LEFT_OUT
    config.forgery = common.forgery("faces64", **_MIX)
    config.forgery.swap = {"changed": 0.5, "inner": 0.5, "gradients": 0.4}
    # The coding and the size of a face must not say where it comes from: both classes are coded again, alike.
    config.augment = common.augment() | {
        "translate": 0.04,
        "scale": (0.92, 1.1),
        "brightness": 0.15,
        "contrast": 0.15,
        "saturation": 0.2,
        "hue": 0.03,
        "blur": 0.2,
        "blur_sigma": (0.3, 1.5),
        "resample": 0.3,
        "resample_factor": (0.4, 1.0),
        "resample_kernels": True,
        "noise": 0.2,
        "jpeg": 0.8,
        "jpeg_quality": (30, 95),
        "webp": 0.2,
        "full_chroma": 0.5,
    }
    config.detector.update(
        name="efficientnet_lite0",
        weights="efficientnet_lite0",
        overrides={"num_classes": 6, "bn_momentum": 0.98},  # a class for each kind of forgery
    )
    config.losses.contrastive.weight = 0.0
    config.losses.kinds = {"weight": 0.5}
    config.optimizer.update(
        name="adamw", learning_rate=4e-4, weight_decay=0.02, warmup=0.05, decay_after=0.05, average=0.998
    )
    config.optimizer.sam.rho = 0.0
    config.steps, config.log_every, config.checkpoint_every = 2400, 20, 100
    config.evaluation.limit = 400
    config.evaluation.forgeries = {}
    config.evaluation.skip = ("swap", "fwa")
    if variant == "experts":
        config.task, config.false_alarms = "experts", (0.05, 0.01)  # of the worst source: suspicious, fake
        config.experts = {
            "composites": {
                "title": "The first network: labelled fakes, self-blends, composites",
                "forgery": {"mix": _COMPOSITES},
                "data": {"leave_out": {"source": (_PHOTOGRAPHS,)}},
            },
            "photographs": {
                "title": "The second network: labelled fakes, self-blends, one more source of real faces",
                "augment": _STRONGER,
            },
        }
    if variant == "audit":
        config.augment.update(_STRONGER)
    if variant == "mixes":
        _compare(config)
    return config


def _compare(config) -> None:
    """Makes it a table: one more forgery at a time, and a small network from scratch."""

    def mixed(title: str, **weights: float) -> dict:
        return {"title": title, "forgery": {"mix": dict.fromkeys(config.forgery.mix, 0.0) | weights}}

    config.task, config.seeds, config.steps, config.data.size = "table", 3, 200, 128
    config.evaluation.update(calibrate=False, limit=150, skip=("swap", "fwa", "sbi", "composite", "resample"))
    config.forgery.latent.update(warmup=100, attack=common.attack() | {"steps": 3})
    config.optimizer.average = 0.99
    config.variants = {
        "given": mixed("Labelled fakes alone", given=1.0),
        "sbi": mixed("+ self-blends", given=2.0, sbi=1.0),
        "composite": mixed("+ self-blends, composites", **_COMPOSITES),
        "swap": mixed("+ self-blends, composites, swaps", **_COMPOSITES, swap=1.0),
        "resample": mixed("+ self-blends, composites, traces", **_COMPOSITES, resample=1.0),
        "latent": mixed("+ self-blends, composites, latent adversaries", **_COMPOSITES, reconstruction=0.5, latent=0.5),
        "scratch": mixed("As the third, a small network from scratch", **_COMPOSITES)
        | {"detector": {"name": "efficientnet_small64", "weights": "", "overrides": {"num_classes": 6}}},
    }
    config.rows = tuple(config.variants)
    config.comparisons = tuple((name, "composite") for name in config.rows if name != "composite")
    config.sweeps = {}
