"""Attention, several resolutions and an ArcFace head, trained on self-blended images.

    python -m fdetect_jax.main --config=configs/arcface.py
    python -m fdetect_jax.main --config=configs/arcface.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/arcface.py:paper --config.data.source=prepared \
        --config.data.root=DIR --config.detector.weights=FILE

``:paper`` has the EfficientNet-B4 trunk at 380 px with SBI's training (``configs/sbi.py``); the others train a small
trunk at 128 px from scratch. ``detector.overrides.maps`` is the paper's ``network1`` (only the last MBConv stage),
``proposed`` (also the stage before it; the default) or ``network2`` (also the stage two before it).
``detector.overrides.head=softmax`` with ``losses.arcface.weight=0`` and ``losses.cross_entropy.weight=1`` replaces the
ArcFace head by a softmax.

The paper's AUC: 0.9459 on Celeb-DF v2 and 0.8259 on FFIW; in its ablation 0.9344, 0.9442 and 0.9374. These were not
measured here.
"""

from configs import sbi


def get_config(variant: str = "facesim"):
    if variant not in ("facesim", "folder", "paper"):
        raise ValueError(f"configs/arcface.py: found variant {variant!r}, wanted facesim, folder or paper")
    config = sbi.get_config(variant)
    config.description = f"Attention, several resolutions, ArcFace ({variant})"
    trunk, channels = ("b4", 128) if variant == "paper" else ("small64", 32)
    changes = changed(trunk, channels, config.detector.overrides.to_dict())
    config.detector.name, config.detector.overrides = changes["detector"]["name"], changes["detector"]["overrides"]
    config.losses = changes["losses"]
    return config


def changed(trunk: str, channels: int, trunk_overrides: dict) -> dict:
    """The fields in which this detector and its losses differ. channels: of the attention branch."""
    return {
        "detector": {
            "name": "multiresolution",
            "overrides": {
                "trunk": trunk,
                "trunk_overrides": trunk_overrides,
                "maps": "proposed",
                "head": "arcface",
                "scale": 16.0,
                "attention": channels,
            },
        },
        "losses": {
            "cross_entropy": {"weight": 0.0},
            "arcface": {"weight": 1.0, "margin": 0.5, "scale": 16.0, "form": "true"},
            "attention": {"weight": 1.0},
        },
    }
