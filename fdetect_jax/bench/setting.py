"""The sizes of the benchmarks: plain numbers for both sides, without JAX and without PyTorch."""

import dataclasses

from fdetect_jax.errors import UserError

NAMES = (
    "b4_forward",
    "b4_input_gradient",
    "b4_sam_step",
    "lite0_sam_step",
    "stylegan2_synthesis",
    "latent_pgd",
    "adv_step",
    "input_pipeline",
    "predict",
    "face_search",
    "scaling",
)
ALONE = ("face_search", "scaling")  # without a side in PyTorch
VARIANTS = ("eager", "eager channels-last", "compile", "compile channels-last")


@dataclasses.dataclass(frozen=True)
class Setting:
    """The sizes of every benchmark.

    batch: images per step. dtype: "float32" or "bfloat16". detector: a key of ``DETECTORS``, at ``pixels`` a side.
    resolution, channel_base: of the StyleGAN2; 256 and 16384 are the published 256 px setting of StyleGAN2-ADA.
    attack_steps: s of the attack. faces: per call of ``input_pipeline``; forgery: a key of ``FORGERIES`` made on the
    host, applied to each of them. remat: ``adv_step`` recomputes activations. scratch: a folder for files of a
    benchmark.
    """

    batch: int = 4
    dtype: str = "float32"
    detector: str = "efficientnet_b4"
    pixels: int = 380
    resolution: int = 256
    channel_base: int = 16384
    attack_steps: int = 10
    faces: int = 64
    forgery: str = "sbi"
    remat: bool = False
    scratch: str = ""

    def __post_init__(self):
        if self.batch < 1:
            raise UserError(f"--batch: found {self.batch}, wanted at least 1")
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(f"--dtype: found {self.dtype!r}, wanted float32 or bfloat16")


def lite(setting: Setting) -> Setting:
    """The same work with EfficientNet-Lite0 at its own size."""
    return dataclasses.replace(setting, detector="efficientnet_lite0", pixels=224)


# The optimiser of every benchmark that has one: as in the paper.
LEARNING_RATE, MOMENTUM, RHO = 0.001, 0.9, 0.05
# The ball of the attack. The paper's 4.0 takes the same work, but there, on random weights, rounding alone separates
# two ascents within ten steps; in a small ball both must reach the same point.
EPSILON = 0.01
