"""What a detector's masks are worth in the held-out tests. In: scored batches with true masks. Out: figures, pictures.

Only figures of each face are kept, and the pictures of the first faces.
"""

from collections.abc import Mapping

import numpy as np

from fdetect_jax.data.rows import TARGET
from fdetect_jax.evaluation.localisation import Localisation, figures_of
from fdetect_jax.inference.scoring import MAP, PICTURE
from fdetect_jax.report.gallery import Gallery, framed

TARGETS = ("mask", "valid")  # that the batches need
_FIGURE, _KNOWN = "located/", "known"
_COLUMNS = ("fake", "true mask", "found mask", "found in the real face")


def located(scored: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of ``scoring.score_pairs``, with figures and pictures of the masks in place of the masks.

    batch: of those faces, with the targets ``TARGETS``. Of a clip a row has the mean of its frames.
    """
    rows = {name: value for name, value in scored.items() if not name.startswith(MAP)}
    if MAP + "image" not in scored:
        return rows
    found, real = (np.asarray(scored[MAP + name]) for name in ("image", "real"))
    wanted = np.asarray(batch[TARGET + "mask"], np.float32) / 255
    flat = (one.reshape(-1, *one.shape[-2:]) for one in (found, wanted, real))
    figures = figures_of(*flat)
    rows |= {_FIGURE + name: value.reshape(len(found), -1).mean(axis=1) for name, value in figures.items()}
    rows[_FIGURE + _KNOWN] = np.asarray(batch[TARGET + "valid"]) > 0
    masks = {name: _still(one, 3) for name, one in zip(_COLUMNS[1:], (wanted, found, real), strict=True)}
    fakes = _still(np.asarray(batch["forged"]), 4)
    side = fakes.shape[1]
    pictures = {name: np.stack([framed(one, side) for one in mask]) for name, mask in masks.items()}
    return rows | {PICTURE + name: value for name, value in ({_COLUMNS[0]: fakes} | pictures).items()}


def localisation_of(title: str, found: Mapping[str, np.ndarray]) -> Localisation | None:
    """Means over the faces whose true mask is known; None where there are none, or the detector has no mask.

    title: of the forgery. found: rows of ``located``, collected.
    """
    known = found.get(_FIGURE + _KNOWN)
    if known is None or not known.any():
        return None
    figures = {name.removeprefix(_FIGURE): value for name, value in found.items() if name.startswith(_FIGURE)}
    del figures[_KNOWN]
    return Localisation(title, int(known.sum()), {name: float(value[known].mean()) for name, value in figures.items()})


def mask_gallery(found: Mapping[str, np.ndarray]) -> Gallery | None:
    """The first faces whose true mask is known: the fake, both masks, and the mask found in the real face."""
    columns = {name: found[PICTURE + name] for name in _COLUMNS if PICTURE + name in found}
    if not columns:
        return None
    known = found[_FIGURE + _KNOWN][: len(columns[_COLUMNS[0]])]
    return Gallery({name: value[known] for name, value in columns.items()}) if known.any() else None


def _still(images: np.ndarray, axes: int) -> np.ndarray:
    """The first frame of clips; images, of ``axes`` axes, unchanged."""
    return images if images.ndim == axes else images[:, 0]
