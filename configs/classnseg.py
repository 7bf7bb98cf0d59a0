"""ClassNSeg: a Y-shaped autoencoder that says whether a face was altered, and where.

    python -m fdetect_jax.main --config=configs/classnseg.py
    python -m fdetect_jax.main --config=configs/classnseg.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/classnseg.py:paper --config.data.source=prepared \
        --config.data.root=DIR --config.forgery.mix.given=1 --config.forgery.mix.swap=0
    python -m fdetect_jax.main --config=configs/classnseg.py:paper --config.data.source=prepared \
        --config.data.root=FEW --config.forgery.mix.given=1 --config.forgery.mix.swap=0 --config.steps=200 \
        --config.detector.weights=runs/classnseg_paper/detector.safetensors --workdir=runs/finetuned

Nguyen et al. 2019 (BTAS, arXiv 1906.06876). The last command is the paper's fine-tuning: all parameters start from a
trained detector, or from the authors' (``fdetect convert classnseg``), and learn from a few images of a new method.

``paper`` trains at 256 px as the authors' code does: activation, segmentation and reconstruction weigh the same, Adam
at 1e-3, 64 images a step, no augmentation. Their Adam also adds 5e-4 of every parameter to its gradient and has an
epsilon of 1e-7; this one does neither. Masks of dataset fakes come from the data set; a fake without one counts for
the other two terms.

The default trains the authors' network at 64 px on blended swaps, mirrored at random. Segmentation weighs 0.3 there and
reconstruction 0.1, so that telling real from fake is learned sooner, and the cross-entropy of the mask is the paper's
plain one in place of the double softmax of their code (``losses.segmentation.form``).

The paper's figures on Face2Face, source-to-target: accuracy 92.8 %, EER 8.2 %, pixels right 90 %; on FaceSwap, which it
never saw, 54 %, and 83.7 % with an EER of 15.1 % once fine-tuned. They were not measured here. The small run's masks of
held-out swaps reach an IoU of 0.786 (``configs/README.md``).
"""

from configs import common


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder", "paper"):
        raise ValueError(f"configs/classnseg.py: found variant {variant!r}, wanted facesim, folder or paper")
    config = common.detector(f"ClassNSeg ({variant})", variant, "configs/classnseg.py")
    paper = variant == "paper"
    if paper:
        config.data = common.folder("sbi", 256) | {"workers": 8}
    config.forgery = common.forgery(config.evaluation.forgeries.latent.inverter, swap=1.0)
    config.detector.update(name="classnseg", dtype="float32")
    config.detector.overrides = {}
    config.losses.cross_entropy.weight = 0.0
    config.losses.contrastive.weight = 0.0
    config.losses.activation = {"weight": 1.0}
    config.losses.segmentation = {"weight": 1.0, "form": "double_softmax"}
    config.losses.reconstruction = {"weight": 1.0, "normalization": "imagenet"}
    config.optimizer.update(name="adam", learning_rate=0.001, momentum=0.9, b2=0.999, decay_after=1.0)
    config.optimizer.sam.rho = 0.0
    config.augment = common.no_augment()
    if paper:
        config.batch_size, config.steps = 32, 100 * 1000
    else:
        config.losses.segmentation.update(weight=0.3, form="cross_entropy")
        config.losses.reconstruction.weight = 0.1
        config.augment.flip = 0.5
        config.steps, config.log_every, config.checkpoint_every = 3000, 10, 500
        config.optimizer.update(learning_rate=0.004, b2=0.99, decay_after=0.5)
    return config
