"""Shared by the configs: data sources, the small networks for 64 px, and the fields of every run."""

from ml_collections import ConfigDict


def run(task: str, description: str, steps: int) -> ConfigDict:
    """The fields that the loop reads."""
    return ConfigDict(
        {
            "task": task,
            "description": description,
            "seed": 0,
            "steps": steps,
            "log_every": 10,
            "checkpoint_every": 100,
            "keep_checkpoints": 2,
            "evaluate_only": False,
        }
    )


# How batches are made: worker processes, faces per clip (0: single faces), and the largest share of unusable faces that
# are replaced before the training stops.
_READING = {"workers": 0, "frames": 0, "max_unusable": 0.01}


def facesim(size: int = 64) -> dict:
    """Procedural faces: three splits of different people."""
    return {
        "source": "facesim",
        "size": size,
        "identities": {"train": 2000, "val": 100, "test": 100},
        "per_identity": 4,
        "seed": 0,
        **_READING,
    }


def folder(recipe: str = "aligned64", size: int = 64) -> dict:
    """A folder of photographs, or of prepared crops; set ``root`` on the command line.

    balance, leave_out: of prepared crops alone; see ``Prepared.shares``, and the methods ("generator") and sources that
    are not trained on but tested.
    """
    prepared = {"balance": 1.0, "leave_out": {"generator": (), "source": ()}}
    return {"source": "folder", "root": "", "recipe": recipe, "size": size, **prepared, **_READING}


def mixture(**parts: dict) -> dict:
    """Several of the above by name; each part's ``weight`` is its share of the training faces, relative to the rest."""
    size = next(iter(parts.values()))["size"]
    parts = {name: {key: part[key] for key in part if key not in _READING} for name, part in parts.items()}
    return {"source": "mixture", "parts": parts, "size": size, **_READING}


def inverter64() -> dict:
    """An inverter (G, E, H) for 64 px, small enough to train and to attack on two cores."""
    return {
        "generator": {
            "resolution": 64,
            "z_dim": 256,
            "w_dim": 256,
            "mapping_layers": 4,
            "channel_base": 1024,
            "channel_max": 128,
        },
        "encoder": {
            "trunk": {"stem": 16, "stages": ((32, 1), (64, 1), (128, 2)), "se_reduction": 16},
            "input_size": 32,
            "w_dim": 256,
            "pool": "flatten",
        },
        "hyper": {
            "trunk": {"stem": 16, "stages": ((32, 1), (64, 1), (128, 2)), "se_reduction": 16},
            "input_size": 32,
            "width": 64,
            "regressor": 32,
            "hidden": 38,
            "instance_norm": False,
            "residual_init": True,
        },
    }


def attack() -> dict:
    """The paper's attack: s = 10 steps of ε/√s in an L2 ball of ε = 4, from a random start."""
    return {
        "epsilon": 4.0,
        "steps": 10,
        "step_size": 0.0,
        "norm": "l2",
        "gradient": "normalized",
        "random_start": True,
    }


def reconstruction(inverter: str) -> dict:
    """Reconstructions by an inverter: the name of a bundled one, or a folder."""
    return {"inverter": inverter, "dtype": "float32", "remat": False}


def generated(inverter: str) -> dict:
    """Random faces of an inverter's generator. truncation: 1 leaves them as they are, less draws them to the mean."""
    return {"inverter": inverter, "dtype": "float32", "truncation": 1.0}


GENERATORS = ("facesim64", "facesim64_wide", "faces64", "faces64_wide")  # every bundled one; 64 px


def reconstructions(names: tuple[str, ...] = GENERATORS) -> dict[str, dict]:
    """Reconstructions by each bundled generator: entries of ``forgery`` and of ``evaluation.forgeries`` by its name."""
    return {
        name: {"forgery": "reconstruction", "title": f"Reconstructions by {name}", **reconstruction(name)}
        for name in names
    }


def samples(names: tuple[str, ...] = GENERATORS) -> dict[str, dict]:
    """As ``reconstructions``, but random faces of each generator, by the name ``GENERATOR_samples``."""
    return {
        f"{name}_samples": {"forgery": "generated", "title": f"Samples of {name}", **generated(name)} for name in names
    }


def latent(inverter: str) -> dict:
    """The latent adversary with an inverter. warmup: steps over which adversaries replace reconstructions."""
    return reconstruction(inverter) | {"space": "w", "render": "full", "warmup": 0, "attack": attack()}


def forgery(inverter: str, **mix: float) -> dict:
    """The forgeries that make the fakes of a training: weights by the names in ``fdetect_jax.forgery.FORGERIES``.

    Every forgery has an entry in the mix, so that the command line can set its weight: --config.forgery.mix.sbi=2. A
    mix may hold one forgery several times, under names of its own; see ``reconstructions``.
    """
    names = ("latent", "reconstruction", "generated", "swap", "composite", "resample", "sbi", "fwa", "given")
    return {
        "mix": dict.fromkeys(names, 0.0) | mix,
        "latent": latent(inverter),
        "reconstruction": reconstruction(inverter),
        "generated": generated(inverter),
        "swap": {"changed": 0.0, "inner": 0.0, "gradients": 0.0},
    }


def augment() -> dict:
    """One draw serves a face and its host-made fake."""
    return {
        "flip": 0.5,
        "translate": 0.03,
        "scale": (0.95, 1.05),
        "brightness": 0.1,
        "contrast": 0.1,
        "saturation": 0.1,
        "hue": 0.02,
        "blur": 0.1,
        "blur_sigma": (0.3, 1.0),
        "resample": 0.1,
        "resample_factor": (0.5, 1.0),
        "jpeg": 0.3,
        "jpeg_quality": (40, 95),
        "resample_kernels": False,
        "noise": 0.0,
        "noise_sigma": (1.0, 6.0),
        "webp": 0.0,
        "full_chroma": 0.0,
    }


def no_augment() -> dict:
    """No augmentation, for forgeries that augment their pairs themselves."""
    off = dict.fromkeys(
        ("flip", "translate", "brightness", "contrast", "saturation", "hue", "blur", "resample", "jpeg"), 0.0
    )
    return augment() | off | {"scale": (1.0, 1.0)}


def detector(description: str, variant: str, file: str) -> ConfigDict:
    """What ``adv.py`` and ``baseline.py`` share: detector, data, optimiser, objective and tests."""
    sources = {
        "facesim": facesim(),
        "folder": folder(),
        "mixture": mixture(photographs=folder() | {"weight": 3.0}, drawn=facesim() | {"weight": 1.0}),
        "paper": folder("paper", 380) | {"workers": 8},
    }
    if variant not in sources:
        raise ValueError(f"{file}: found variant {variant!r}, wanted facesim, folder, mixture or paper")
    inverter = "facesim64" if variant == "facesim" else "faces64"
    config = run("detector", description, steps=64)
    config.update(
        log_every=1,
        checkpoint_every=50,
        data=sources[variant],
        batch_size=16,
        augment=augment(),
        detector={
            "name": "efficientnet_small64",
            "overrides": {},
            "weights": "",  # a weights file to start from
            "dtype": "float32",
            "sync_batch_stats": False,
        },
        losses={
            "cross_entropy": {"weight": 1.0},
            "contrastive": {
                "weight": 1.0,
                "margin": 1.0,
                "form": "hadsell",
                "pairs": "counterpart",
                "normalize": True,
                "across": False,  # pairs across devices and processes
            },
        },
        objective={"mode": "joint", "lam": 1.0, "turn": "step", "trainable": ("*",), "stages": ()},
        optimizer={
            "name": "adam",
            "learning_rate": 0.004,
            "momentum": 0.9,  # Adam's b1
            "b2": 0.99,  # Adam's
            "weight_decay": 0.0,
            "warmup": 0.0,
            "decay_after": 0.75,
            "staircase": {"every": 0, "factor": 0.1, "times": 3},  # 0 steps: none
            "average": 0.0,  # of the weights
            "sam": {"rho": 0.05, "adaptive": False, "batch_stats": "first"},
        },
        evaluation={
            "split": "test",
            "batch_size": 32,
            "limit": 128,  # faces, drawn over people or videos
            "seed": 0,  # of the tests' faces and fakes, independent of the training's seed
            "calibrate": True,  # on the validation split
            "skip": (),  # names of tests to skip
            "speed": False,  # measure faces a second
            "forgeries": {"latent": latent(inverter)},
        },
    )
    if variant != "paper":
        config.evaluation.forgeries.other_generator = {
            "forgery": "reconstruction",
            "title": "Another generator's faces",
            **reconstruction(f"{inverter}_wide"),
        }
    if variant == "paper":
        config.detector.update(name="efficientnet_b4", overrides={"remat": True}, dtype="bfloat16")
        config.optimizer.update(name="sgd", learning_rate=0.001)
        config.evaluation.forgeries.latent = latent("") | {"dtype": "bfloat16", "remat": True}
        config.evaluation.limit = 1000
        # 100 epochs of 10 % of FaceForensics++: 72 videos of 32 frames, 144 batches of 16.
        config.steps = 100 * 144
    return config
