"""HyperInverter on a trained generator: trains kernel offsets per image, on top of the encoder's latent.

    python -m fdetect_jax.main --config=configs/inversion.py --config.inverter=runs/gan/inverter \\
        --workdir=runs/inversion
    python -m fdetect_jax.main --config=configs/inversion.py:folder --config.inverter=runs/gan_folder/inverter \\
        --config.data.root=DIR --workdir=runs/inversion_folder
    python -m fdetect_jax.main --config=configs/inversion.py:paper --config.inverter=DIR --config.data.root=DIR

Paper: arXiv 2112.00719. The default and ``:folder`` are the second step towards the bundled inverters. ``:paper``
has the paper's settings for faces; its LPIPS and identity terms need third-party weights
(``--config.losses.lpips.weights=FILE``), or a weight of 0.
"""

from configs import common


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder", "paper"):
        raise ValueError(f"configs/inversion.py: found variant {variant!r}, wanted facesim, folder or paper")
    config = common.run("inversion", f"HyperInverter ({variant})", steps=2000)
    networks = common.inverter64()
    # This encoder is built only if the inverter has none of its own.
    config.update({name: networks[name] for name in ("encoder", "hyper")})
    config.update(
        data=common.folder() if variant in ("folder", "paper") else common.facesim(),
        inverter="",
        batch_size=32,
        learning_rate=0.002,
        encoder_learning_rate=0.0,
        schedule="cosine",
        adam_b2=0.99,
        freeze_batch_stats=True,
        losses={
            "l2": {"weight": 1.0},
            "lpips": {"weight": 0.0, "weights": ""},
            "identity": {"weight": 0.0, "weights": ""},
            "moco": {"weight": 0.0, "weights": ""},
            "adversarial": {"weight": 0.0, "start": 0, "r1_gamma": 10.0, "r1_interval": 16},
        },
        eval_batch_size=32,
        eval_limit=400,
        checkpoint_every=500,
        log_every=20,
    )
    if variant == "paper":
        trunk = {"stem": 64, "stages": ((64, 3), (128, 4), (256, 14), (512, 3)), "se_reduction": 16}
        config.encoder = {"trunk": trunk, "input_size": 256, "w_dim": 512, "pool": "mean"}
        config.hyper = {
            "trunk": trunk,
            "input_size": 256,
            "width": 512,
            "regressor": 64,
            "hidden": 128,
            "instance_norm": True,
            "residual_init": False,
        }
        config.freeze_batch_stats = False
        config.data = common.folder("aligned1024", 1024)
        config.steps = 500_000
        config.batch_size = 8
        # The paper halves the batch when the adversarial term starts; here it stays the same.
        config.update(learning_rate=1e-4, schedule="constant", adam_b2=0.999)
        config.losses.lpips.weight = 0.8
        config.losses.identity.weight = 0.1
        config.losses.adversarial.update(weight=0.005, start=200_000)
    config.card = _card(variant)
    return config


def _card(variant: str) -> dict:
    """The card of the exported inverter; replace its fields if more is known of the photographs."""
    gan, suffix, root = {
        "facesim": ("configs/gan.py", "", ""),
        "folder": ("configs/gan.py:folder", "_folder", " --config.data.root=DIR"),
        "paper": ("configs/gan.py:config_f", "_paper", " --config.data.root=DIR"),
    }[variant]
    argument, size = "" if variant == "facesim" else f":{variant}", 1024 if variant == "paper" else 64
    data = "Procedural faces (`fdetect_jax/facesim/`), split train; held out: split test."
    licence = "Apache-2.0"
    if variant != "facesim":
        data = f"A folder of photographs, cropped with the recipe `aligned{size}`; held out: people of the split test."
        licence = "Apache-2.0 for the weights; the photographs keep their own terms and are not included."
    return {
        "name": f"facesim{size}" if variant == "facesim" else f"faces{size}",
        "what": f"StyleGAN2 generator (G), encoder (E) and HyperInverter (H) for faces of {size} px.",
        "data": data,
        "config": f"{gan}, then configs/inversion.py{argument}",
        "licence": licence,
        "commands": (
            f"python -m fdetect_jax.main --config={gan}{root} --workdir=runs/gan{suffix}",
            f"python -m fdetect_jax.main --config=configs/inversion.py{argument}{root} "
            f"--config.inverter=runs/gan{suffix}/inverter --workdir=runs/inversion{suffix}",
        ),
    }
