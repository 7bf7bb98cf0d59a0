"""FFD: Xception that learns a map of where a face was altered, and weighs its features by it.

    python -m fdetect_jax.main --config=configs/ffd.py
    python -m fdetect_jax.main --config=configs/ffd.py:folder --config.data.root=DIR

    fdetect prepare faceforensics --root DOWNLOAD --output DIR --compression c23 --recipe ff++
    python -m fdetect_jax.main --config=configs/ffd.py:paper --config.data.source=prepared --config.data.root=DIR \
        --config.forgery.mix.given=1 --config.forgery.mix.swap=0

Dang et al. 2020 (arXiv 1910.01717). ``:paper`` is the authors' code: 299 px, the map as a sum of templates, L1 of the
map with weight 1 beside cross-entropy, Adam at 1e-4 with an L2 of 1e-3 (here of kernels alone), 15 real and 15 fake
faces a step (here 16 and 16), 100 epochs of 1000 steps, no augmentation. The others train a narrow network at 64 px on
swaps, composites and reconstructions of a generator, with the map by regression.

``detector.overrides.attention`` is "reg" or "templates"; ``detector.overrides.trunk=vgg16`` takes the other trunk.
``losses.map.truth=difference`` is the paper's ground truth in place of the data's masks. ``losses.map.weight=0`` with
``losses.weak_map.weight=1`` is its weak supervision, both at 0 its unsupervised training. ``detector.weights`` starts
the trunk from a converted Xception (``configs/xception.py``). ``fdetect convert ffd`` reads the authors' checkpoints.

The paper's AUC with Xception and the supervised map is about 0.996 on its own set (DFFD), and 0.844 and 0.644 on UADFV
and Celeb-DF, which it did not train on. These figures were taken down second-hand. Neither they nor what the small runs
reach were measured here.
"""

from configs import common


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder", "paper"):
        raise ValueError(f"configs/ffd.py: found variant {variant!r}, wanted facesim, folder or paper")
    config = common.detector(f"FFD ({variant})", variant, "configs/ffd.py")
    paper = variant == "paper"
    if paper:
        config.data = common.folder("ff++", 299) | {"workers": 8}
    mix = {"swap": 1.0} if paper else {"swap": 1.0, "composite": 1.0, "reconstruction": 1.0}
    config.forgery = common.forgery(config.evaluation.forgeries.latent.inverter, **mix)
    config.detector.update(name="ffd", dtype="float32")
    small = {"attention": "reg", "trunk_overrides": {"width": 0.125, "blocks": 2, "stem_stride": 1}}
    config.detector.overrides = {"attention": "templates", "templates": ""} if paper else small
    config.losses.contrastive.weight = 0.0
    config.losses.map = {"weight": 1.0, "truth": "mask"}
    config.losses.weak_map = {"weight": 0.0, "squash": paper}
    config.optimizer.update(name="adam", learning_rate=0.002, momentum=0.9, b2=0.999)
    config.optimizer.sam.rho = 0.0
    config.steps = 400
    if paper:
        config.augment = common.no_augment()
        config.batch_size, config.steps = 16, 100 * 1000
        config.log_every, config.checkpoint_every = 100, 1000
        config.optimizer.update(name="adam_l2", learning_rate=1e-4, weight_decay=1e-3, decay_after=1.0)
        config.evaluation.skip = ("latent",)
    return config
