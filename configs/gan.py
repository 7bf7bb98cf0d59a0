"""StyleGAN2 on faces, with an encoder trained alongside.

    python -m fdetect_jax.main --config=configs/gan.py --workdir=runs/gan
    python -m fdetect_jax.main --config=configs/gan.py:folder --config.data.root=DIR --workdir=runs/gan_folder
    python -m fdetect_jax.main --config=configs/gan.py:config_f --config.data.root=DIR

Paper: arXiv 1912.04958. ``:config_f`` is the paper's 1024 px setting; the default and ``:folder`` are small networks
for 64 px, the first step towards the bundled inverters. ``:wide`` and ``:wide_folder`` train unseen generators: other
widths, another seed, fewer steps. Detectors are tested on their faces and never trained on them.
"""

from configs import common


def get_config(variant: str = "facesim"):
    config = common.run("gan", f"StyleGAN2 with an encoder beside it ({variant})", steps=6000)
    networks = common.inverter64()
    config.update({name: networks[name] for name in ("generator", "encoder")})
    config.update(
        data=common.folder() if variant.endswith("folder") else common.facesim(),
        batch_size=8,
        adversarial_interval=4,
        group_size=4,
        learning_rate=0.002,
        reconstruction={"weight": 1.0, "learning_rate": 0.01, "encoder_learning_rate": 0.003},
        style_mixing=0.9,
        r1={"gamma": 0.5, "interval": 16},
        path_length={"weight": 0.0, "interval": 4},
        ema_kimg=5.0,
        eval_batch_size=32,
        eval_limit=400,
        checkpoint_every=1024,
        log_every=64,
    )
    if variant == "config_f":
        config.data = common.folder("aligned1024", 1024)
        config.generator.update(
            resolution=1024, z_dim=512, w_dim=512, mapping_layers=8, channel_base=32768, channel_max=512
        )
        config.encoder.w_dim = 512
        config.steps = 25_000_000 // 32
        config.reconstruction.weight = 0.0
        config.update(
            batch_size=32,
            adversarial_interval=1,
            r1={"gamma": 10.0, "interval": 16},
            path_length={"weight": 2.0, "interval": 4},
            ema_kimg=10.0,
        )
    elif variant in ("wide", "wide_folder"):
        config.generator.update(channel_base=1536, channel_max=96)
        config.seed, config.steps = 1, 4000
    elif variant not in ("facesim", "folder"):
        wanted = "facesim, folder, wide, wide_folder or config_f"
        raise ValueError(f"configs/gan.py: found variant {variant!r}, wanted {wanted}")
    return config
