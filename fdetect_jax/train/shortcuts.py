"""The audit of ``fdetect doctor``, repeated on the crops that a detector was trained on. In: a config. Out: AUCs."""

from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from fdetect_jax.data.sources import make_source
from fdetect_jax.datasets.audit import MOST, lines, of_pixels, shortcuts
from fdetect_jax.forgery import entries_of
from fdetect_jax.types import FAKE, REAL


def shortcut_figures(config: ConfigDict, show: Callable[[str], None]) -> dict[str, float]:
    """ "shortcut/PROPERTY" -> the AUC of that property alone, of real crops against dataset fakes, before augmentation.

    Every AUC above ``audit.WARN``, over all sources and within each, is shown as a line. Nothing for a training without
    dataset fakes. At most ``audit.MOST`` crops of each class are read, evenly spaced.
    """
    if not any(entry.forgery == "given" for entry in entries_of(config.forgery).values()):
        return {}
    labels, sources, rows = [], [], []
    for label in (REAL, FAKE):
        source = make_source(config.data, "train", label=label)
        for index in np.unique(np.linspace(0, len(source) - 1, min(MOST, len(source))).round().astype(int)):
            face = source[int(index)]
            row = of_pixels(face["image"])
            if "face" in face:
                x0, y0, x1, y1 = (float(value) for value in face["face"])
                row["size of the face"] = max(x1 - x0, y1 - y0)
            labels.append(label)
            sources.append(str(face.get("source", "")))
            rows.append(row)
    found = shortcuts(labels, sources, rows)
    for line in lines(found):
        show(f"shortcut: {line}")
    return {f"shortcut/{one.property}": one.auc for one in found if not one.source}
