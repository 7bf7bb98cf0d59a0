"""FWA and DSP-FWA: detectors of the traces that warping leaves, trained on real faces alone.

    python -m fdetect_jax.main --config=configs/fwa.py
    python -m fdetect_jax.main --config=configs/fwa.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/fwa.py:paper --config.data.root=DIR --config.detector.weights=FILE
    fdetect predict video.mp4 --model runs/fwa_paper --views 10 --aggregation top_third --min-face-share 0

Li and Lyu 2019 (arXiv 1811.00656). ``:paper`` trains ResNet-50 in TF-slim's form at 224 px on the region that the
authors' code cuts: SGD at 0.001 without momentum, 5 % less every 1000 steps, batches of 32 faces and as many fakes, 20
epochs of their 24,442 images. FILE holds ImageNet weights, for example torchvision's after ``fdetect convert resnet``
(the authors' are TF-slim's). ``detector.overrides.trunk`` is resnet50, resnet101, resnet152 or vgg16; with
``--config.detector.name=dsp_fwa`` the same command trains DSP-FWA. The other variants train a small ResNet at 64 px;
``configs/zoo.py`` has a small DSP-FWA.

``fdetect convert fwa`` reads the authors' checkpoints of both detectors. The last command scores with these too
(``--recipe fwa``), by the authors' rule: ten crops of a face, the mean of the five highest, the highest face of a
frame, the mean of the highest third of the frames that show a face (theirs: of a third of all frames).

The authors released no code for the fakes. These are DeepfakeBench's, which differ from the paper's in this: the
aligned face is 256 px large and is shrunk to 0.2 to 0.8 of that, where the paper aligns it at several sizes; both blur
it. Five deformed hulls replace the paper's whole square and its polygon from the brows to the lower lip. The image
around the face also gets SBI's changes of colour and compression. One draw of brightness, contrast and saturation
serves a face and its fake; the authors draw for each image, and sharpness too. Their second stage, 20 epochs on hard
examples at 0.0001, is not here.

The paper's AUC in per cent, on UADFV by image and by video: VGG16 83.3 and 84.5, ResNet50 97.4 and 98.7, ResNet101 95.4
and 99.1, ResNet152 93.8 and 97.8; on DeepfakeTIMIT of low and of high quality: VGG16 84.6 and 57.4, ResNet50 99.9 and
93.2, ResNet101 97.6 and 86.9, ResNet152 99.4 and 91.2. Neither these nor what the small runs reach were measured here.
"""

from configs import common


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder", "paper"):
        raise ValueError(f"configs/fwa.py: found variant {variant!r}, wanted facesim, folder or paper")
    config = common.detector(f"FWA ({variant})", variant, "configs/fwa.py")
    config.forgery = common.forgery(config.evaluation.forgeries.latent.inverter, fwa=1.0)
    config.detector.update(name="fwa", dtype="float32")
    config.detector.overrides = {"trunk": "resnet50", "trunk_overrides": {}}
    config.losses.contrastive.weight = 0.0
    config.optimizer.sam.rho = 0.0
    config.augment = common.no_augment() | {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5}
    if variant == "paper":
        config.data = common.folder("fwa", 224) | {"workers": 8}
        config.optimizer.update(name="sgd", learning_rate=0.001, momentum=0.0, weight_decay=0.0001, decay_after=1.0)
        config.optimizer.staircase.update(every=1000, factor=0.95, times=1000)
        config.batch_size, config.steps = 32, 20 * (24_442 // 64)
        return config
    config.detector.overrides.trunk_overrides = {
        "width": 0.25,
        "units": (1, 1, 1, 1),
        "pool": False,
        "bn_momentum": 0.9,
    }
    config.optimizer.update(learning_rate=0.002, b2=0.999, decay_after=0.75)
    config.steps, config.log_every = 400, 10
    return config
