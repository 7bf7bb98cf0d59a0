"""The one table of scored units that every evaluation fills: after a training, and ``fdetect evaluate``.

A unit is a face, a frame or a file. In: what is known of each unit and the detector's margin. Out: columns to select
from; ``evaluation.metrics`` turns them into figures.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from fdetect_jax.types import FAKE, REAL, UNKNOWN


@dataclasses.dataclass(frozen=True)
class Scored:
    """Scored units, one row each; every column has the same length N.

    label: (N,) 0 = real, 1 = fake. margin: (N,) float64, log P(fake) / P(real) as the detector gives it, not
    calibrated. kind: (N,) places in ``types.KINDS``, -1 where unknown. method: (N,) the forgery's name, "real" for
    reals. source: (N,) the data set or the part of a mixture. group: (N,) what belongs together and is resampled whole:
    the video of a frame, the person of a face.
    """

    label: np.ndarray
    margin: np.ndarray
    kind: np.ndarray
    method: np.ndarray
    source: np.ndarray
    group: np.ndarray

    def __post_init__(self) -> None:
        columns = {field.name: np.asarray(getattr(self, field.name)) for field in dataclasses.fields(self)}
        if len({column.shape for column in columns.values()}) != 1 or columns["label"].ndim != 1:
            shapes = {name: column.shape for name, column in columns.items()}
            raise ValueError(f"a table of scored units: found columns {shapes}, wanted one length")
        columns["margin"] = columns["margin"].astype(np.float64)
        for name, column in columns.items():
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, chosen: np.ndarray) -> "Scored":
        """Those of a mask (N,) or of indices."""
        return Scored(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))

    @classmethod
    def joined(cls, tables: Sequence["Scored"]) -> "Scored":
        """One after another."""
        columns = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(table, name) for table in tables]) for name in columns))


@dataclasses.dataclass(frozen=True)
class Test:
    """One labelled set that a detector has scored, as a report shows it.

    name: its key in report.json. title: what a reader sees. units: the rows. unit: what a row is, "face", "frame" or
    "video".
    """

    __test__ = False  # the name would make pytest collect it

    name: str
    title: str
    units: Scored
    unit: str = "face"


def pairs(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    method: str,
    kind: int | np.ndarray = UNKNOWN,
    source: str | np.ndarray = "",
    group: np.ndarray | None = None,
) -> Scored:
    """Faces and a fake of each, as one table: reals first.

    real, fake: (N,) margins. kind: of the fakes, one for all or (N,). source, group: of the faces; by default each face
    is a group of its own, with its fake.
    """
    count = len(real)
    group = np.arange(count) if group is None else group
    return Scored(
        np.repeat([REAL, FAKE], count),
        np.concatenate([real, fake]),
        np.concatenate([np.zeros(count, int), np.broadcast_to(kind, count)]),
        np.repeat(["real", method], count),
        np.tile(np.broadcast_to(source, count), 2),
        np.tile(group, 2),
    )
