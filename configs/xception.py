"""Xception, the baseline of FaceForensics++.

    python -m fdetect_jax.main --config=configs/xception.py
    python -m fdetect_jax.main --config=configs/xception.py:folder --config.data.root=DIR

    fdetect convert xception --input xception-b5690688.pth --output imagenet.safetensors
    fdetect prepare faceforensics --root DOWNLOAD --output DIR --compression c23 --recipe ff++ --frames 270
    python -m fdetect_jax.main --config=configs/xception.py:paper --config.data.source=prepared --config.data.root=DIR \
        --config.forgery.mix.given=1 --config.forgery.mix.swap=0 --config.detector.weights=imagenet.safetensors

Rössler et al. 2019 (arXiv 1901.08971). The last three commands train as the paper does: face crops of 299 px, 1.3 times
the face; cross-entropy; Adam at 2e-4, 32 faces a step (here 16 real ones and a fake of each); the classifier alone for
3 epochs, then all layers for 15. ``--compression c40`` is the paper's low quality. The paper takes the epoch with the
best accuracy on validation; here the last step is tested. It extracts 270 frames of a training video and 100 of the
others. The first two commands train a narrow network at 64 px on blended swaps and reconstructions of a generator.

The paper's accuracy over frames of all methods: 99.26 % raw, 95.73 % c23, 81.00 % c40. Neither these nor what the small
runs reach were measured here.
"""

from configs import common


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder", "paper"):
        raise ValueError(f"configs/xception.py: found variant {variant!r}, wanted facesim, folder or paper")
    config = common.detector(f"Xception ({variant})", variant, "configs/xception.py")
    paper = variant == "paper"
    if paper:
        config.data = common.folder("ff++", 299) | {"workers": 8}
    mix = {"swap": 1.0} if paper else {"swap": 1.0, "reconstruction": 1.0}
    config.forgery = common.forgery(config.evaluation.forgeries.latent.inverter, **mix)
    config.detector.update(name="xception", dtype="float32")
    config.detector.overrides = {} if paper else {"width": 0.125, "blocks": 2, "stem_stride": 1}
    config.losses.contrastive.weight = 0.0
    config.optimizer.update(name="adam", learning_rate=0.002, momentum=0.9, b2=0.999)
    config.optimizer.sam.rho = 0.0
    config.steps = 400
    if paper:
        config.augment = common.no_augment()
        config.batch_size, epoch = 16, 720 * 270 // 16  # videos and frames of the training split
        config.steps = 18 * epoch
        config.log_every, config.checkpoint_every = 100, 1000
        config.optimizer.update(learning_rate=2e-4, decay_after=1.0)
        classifier = {"share": 3 / 18, "terms": (), "trainable": ("fc/*",)}
        config.objective.update(
            mode="staged", stages=(classifier, classifier | {"share": 15 / 18, "trainable": ("*",)})
        )
        config.evaluation.skip = ("latent",)
    return config
