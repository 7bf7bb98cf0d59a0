"""What the configs share: the embedded faces, the small networks for 64 px, and the fields of every run."""

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


def facesim(size: int = 64) -> dict:
    """Procedural faces: three splits of different people."""
    return {
        "source": "facesim",
        "size": size,
        "identities": {"train": 2000, "val": 100, "test": 100},
        "per_identity": 4,
        "seed": 0,
    }


def folder(recipe: str = "aligned64", size: int = 64) -> dict:
    """A folder of photographs; ``root`` is given on the command line."""
    return {"source": "folder", "root": "", "recipe": recipe, "size": size}


def pair64() -> dict:
    """(G, E, H) for 64 px: small enough to train and to attack on two cores."""
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
            "trunk": {"stem": 16, "stages": ((32, 1), (64, 1), (96, 1), (128, 2)), "se_reduction": 16},
            "input_size": 64,
            "w_dim": 256,
            "pool": "flatten",
        },
        "hyper": {
            "trunk": {"stem": 16, "stages": ((24, 1), (48, 1), (96, 2)), "se_reduction": 16},
            "input_size": 64,
            "width": 48,
            "regressor": 32,
            "hidden": 32,
        },
    }
