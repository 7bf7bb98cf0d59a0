"""The bundled detector: EfficientNet-Lite0 on labelled faces of many sources and on forgeries made of the real ones.

    fdetect prepare folder --root LABELLED --output DIR --recipe sbi --size 192
    python -m fdetect_jax.main --config=configs/release.py --config.data.root=DIR

LABELLED is a folder with a ``manifest.csv`` (path, label, type, generator, source, group); the bundled detector's is
described in its card. ``:audit`` leaves out four generators and four sources, trains on the rest, and tests on what was
left out; it has not been run to its end. The trunk's ImageNet weights are fetched once. Two cores take about an hour.
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


def get_config(variant: str = "labelled"):
    if variant not in ("labelled", "audit"):
        raise ValueError(f"configs/release.py: found variant {variant!r}, wanted labelled or audit")
    config = common.detector(f"The bundled detector ({variant})", "folder", "configs/release.py")
    config.data = common.folder("sbi", 192) | {
        "source": "prepared",
        "workers": 1,
        "balance": 0.5,
    }
    if variant == "audit":
        config.data.leave_out = LEFT_OUT
    config.forgery = common.forgery("faces64", given=2.0, sbi=1.0, composite=1.0)
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
    return config
