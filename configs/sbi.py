"""A detector of self-blended images (Shiohara and Yamasaki, 2022), trained only on fakes made from the real faces.

    python -m fdetect_jax.main --config=configs/sbi.py
    python -m fdetect_jax.main --config=configs/sbi.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/sbi.py:paper --config.data.source=prepared \
        --config.data.root=DIR --config.detector.weights=FILE

The default and ``:folder`` train a small EfficientNet from scratch at 128 px, on procedural faces and on a folder of
photographs. ``:paper`` uses the numbers of the authors' code: EfficientNet-B4 at 380 px without normalisation, 16
pairs per step, SGD at 0.001 with momentum, SAM of radius 0.05 with BatchNorm updated by both passes, 100 epochs of 8
frames of each of FaceForensics++'s 720 real training videos, the last 25 with linear decay. It starts from ImageNet
weights trained with AdvProp: ``fdetect convert efficientnet --input adv-efficientnet-b4-44fb3a87.pth --output FILE``.
Published result: AUC 93.2 % on Celeb-DF v2, by video.
"""

from configs import common


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder", "paper"):
        raise ValueError(f"configs/sbi.py: found variant {variant!r}, wanted facesim, folder or paper")
    config = common.detector(f"Self-blended images ({variant})", variant, "configs/sbi.py")
    config.forgery = common.forgery(config.evaluation.forgeries.latent.inverter, sbi=1.0)
    config.augment = common.no_augment()
    config.evaluation.limit = 1000
    config.evaluation.forgeries = {}
    if variant == "paper":
        config.data = common.folder("sbi", 380) | {"workers": 8}
        config.detector.overrides = {"normalization": "none", "dropout": 0.4, "drop_connect": 0.2}
        config.detector.dtype = "float32"
        config.optimizer.sam.batch_stats = "both"
        config.steps = 100 * (720 * 8 // 16)
        return config
    config.data = common.folder("sbi", 128) if variant == "folder" else common.facesim(128)
    # Stride 2: only the first convolution sees the traces of blending at full resolution.
    # No dropout: a run of so few steps does not overfit.
    config.detector.overrides = {"stem_stride": 2, "stem": 24, "dropout": 0.0, "drop_connect": 0.0}
    config.optimizer.update(learning_rate=0.003, decay_after=0.5)
    config.optimizer.sam.rho = 0.0
    config.steps, config.log_every, config.checkpoint_every = 5400, 20, 200
    return config
