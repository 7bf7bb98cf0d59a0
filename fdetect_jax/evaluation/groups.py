"""What must stay together when labelled files are divided: (data set) -> the group of each file.

A group is a person or a video. In a folder, ``manifest.csv`` names it, else the first sub-folder of real/ is a person,
and a fake stands alone. In what ``fdetect prepare`` made, files of one person or of one video are a group.
"""

from pathlib import PurePosixPath

from fdetect_jax.datasets.layouts import folder
from fdetect_jax.datasets.layouts.base import connected
from fdetect_jax.evaluation.sets import DataSet
from fdetect_jax.types import REAL


def groups_of(one: DataSet) -> dict[str, str]:
    """The name of each file -> its group. Raises UserError where a table cannot be read."""
    if one.prepared is not None:
        rows = [row for row in one.prepared.manifest["files"] if row["split"] == one.prepared.split]
        links = (
            (f"file {row['file']}", f"video {row['video']}", f"person {row['source']} {row['identity']}")
            for row in rows
        )
        leader = connected(links)
        return {file.name: leader[f"file {file.name}"] for file in one.files}
    table = {}
    if (one.root / folder.TABLE).is_file():
        table = {item.file: item.group for item in folder.LAYOUT.items(one.root)}
    return {file.name: table.get(file.name) or _person(file.name, file.label) for file in one.files}


def _person(name: str, label: int) -> str:
    parts = PurePosixPath(name).parts
    return "/".join(parts[:2]) if label == REAL and len(parts) > 2 else name
