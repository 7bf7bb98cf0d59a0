"""Capsule-Forensics: capsules that look at the statistics of VGG-19's maps, and dynamic routing between them.

    python -m fdetect_jax.main --config=configs/capsule.py
    python -m fdetect_jax.main --config=configs/capsule.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/capsule.py:paper --config.data.source=prepared --config.data.root=DIR \
        --config.forgery.mix.given=1 --config.forgery.mix.swap=0 --config.detector.weights=vgg19.safetensors

Nguyen et al. 2019: version 1 at ICASSP (arXiv 1810.11215), version 2 in arXiv 1910.12467. The last command trains
version 2 on dataset fakes as the authors' code does: 300 px, Adam at 5e-4, 25 epochs in batches of 32 faces (here 16
real and as many fakes), no augmentation, and a trunk with ImageNet weights that stays as it is. ``fdetect convert vgg``
makes its file of torchvision's vgg19-dcbb9e9d.pth. The others train a trunk of a quarter of the width at 64 px from
scratch, with everything above it.

``detector.name`` is "capsule_v2" (the default) or "capsule_v1": three capsules, no dropout, and softmax twice in the
loss; the authors trained it at 128 px, for 100 epochs in batches of 100. The term ``capsule`` is their loss;
``capsule_methods`` and ``capsule_kinds`` are its form for a class per method or kind, with
``detector.overrides.num_classes``. ``fdetect convert capsule`` reads the authors' weights.
``fdetect predict --aggregation mean`` scores a video as they do.

The accuracy of version 1 on MesoNet's Deepfake set, as the paper is remembered: 0.959 of frames and 0.992 of videos.
Neither this nor what the small runs reach were measured here.
"""

from configs import common

ABOVE_TRUNK = ("capsules/*", "fc/*")  # the parameters that the authors train


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder", "paper"):
        raise ValueError(f"configs/capsule.py: found variant {variant!r}, wanted facesim, folder or paper")
    config = common.detector(f"Capsule-Forensics ({variant})", variant, "configs/capsule.py")
    paper = variant == "paper"
    if paper:
        config.data = common.folder("sbi", 300) | {"workers": 8}
    mix = {"swap": 1.0} if paper else {"swap": 1.0, "reconstruction": 1.0}
    config.forgery = common.forgery(config.evaluation.forgeries.latent.inverter, **mix)
    config.detector.update(name="capsule_v2", dtype="float32")
    config.detector.overrides = {"width": 1.0 if paper else 0.25, "num_classes": 2}
    config.losses.cross_entropy.weight = 0.0
    config.losses.contrastive.weight = 0.0
    config.losses.capsule = {"weight": 1.0}
    config.optimizer.update(name="adam", learning_rate=0.0005, momentum=0.9, b2=0.999, decay_after=1.0)
    config.optimizer.sam.rho = 0.0
    config.steps = 400
    if paper:
        config.objective.trainable = ABOVE_TRUNK
        config.augment = common.no_augment()
        config.batch_size = 16
        # 25 epochs of FaceForensics++: 720 videos of 100 frames, real and by three methods.
        config.steps = 25 * 4 * 72_000 // 32
    return config
