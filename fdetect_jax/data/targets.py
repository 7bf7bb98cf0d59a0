"""What a batch may hold beside image and label: the table of targets that terms of the loss ask for by name.

A new target is a line in ``TARGETS``. Its values come from the forgery (``ForgedPair.targets`` or ``Forged.targets``)
or, where ``example`` is given, from the face itself.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Target:
    """One target.

    map: (B, H, W), aligned with the image, so that augmentation moves it; else one value a row, (B,).
    dtype: of the batch's array. Maps are float32 in [0, 1].
    real: the value of a real face; None: the face and its fake share one value.
    fake: the value of a fake whose forgery does not say; None: the forgery must say.
    example: the field of ``types.Example`` that holds it, for what belongs to the face; "": nothing does.
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
    "kind": Target(real=0),  # a place in types.KINDS, -1 where unknown
    "method": Target(real=0),  # 1 + the place of the forgery in the run's mix
    "pair": Target(),  # equal for a face and its fake; -1 for a fake that is no counterpart of its face
}
MADE = ("pair",)  # by the trainer, when faces and fakes meet
