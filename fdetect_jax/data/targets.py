"""The arrays that a batch may hold besides image and label: the targets that loss terms request by name.

A new target is a line in ``TARGETS``. Its values come from the forgery (``ForgedPair.targets`` or ``Forged.targets``)
or, if ``example`` is set, from the face itself.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Target:
    """One target.

    map: (B, H, W), aligned with the image, so that augmentation moves it; otherwise one value per row, (B,).
    dtype: of the batch's array. Maps are float32 in [0, 1].
    real: the value of a real face; None: the face and its fake share one value.
    fake: the value of a fake if its forgery provides none; None: the forgery must provide it.
    example: the field of ``types.Example`` that holds it, for properties of the face; "": no field.
    """

    map: bool = False
    dtype: type = np.int32
    real: float | None = None
    fake: float | None = None
    example: str = ""

    def __post_init__(self) -> None:
        if self.map:
            object.__setattr__(self, "dtype", np.float32)


TARGETS: dict[str, Target] = {
    "identity": Target(example="identity"),  # the person
    "face": Target(map=True, example="mask"),  # where the face is
    "mask": Target(map=True, real=0.0, fake=1.0),  # where the image was altered
    "valid": Target(dtype=np.float32, real=1.0, fake=1.0),  # 1 where ``mask`` is known, 0 where it is not
    "kind": Target(real=0),  # an index into types.KINDS, -1 if unknown
    "method": Target(real=0),  # 1 + the position of the forgery in the run's mix
    "pair": Target(),  # equal for a face and its fake; -1 for a fake that is no counterpart of its face
}
MADE = ("pair",)  # set by the trainer, when faces and fakes are combined
