"""Shortcuts: what tells the classes of a data set apart without looking at the face. In: its items. Out: AUCs.

A detector learns the easiest difference. If the fakes of a set are PNG and its real faces JPEG, it learns that. An AUC
here is that of one property alone, whichever class has the higher values; 0.5 says nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin

from fdetect_jax.datasets.layouts.base import Item
from fdetect_jax.faces.finder import open_faces, own_faces
from fdetect_jax.faces.models import load_models
from fdetect_jax.media.container import kind_of
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Limits, Rejected
from fdetect_jax.media.photos import open_photo, read_photo
from fdetect_jax.media.video import Sampling, probe, read_frames
from fdetect_jax.types import FAKE, REAL

WARN = 0.6  # an AUC above this is said
LEAST = 10  # files of each class, so that an AUC means something
MOST = 300  # files of a source and class that are read
_SECONDS = 60.0  # that one file may take
# Luminance table of JPEG at quality 50 (ITU T.81, K.1), its mean.
_STANDARD = 57.625


@dataclass(frozen=True)
class Shortcut:
    """One property of the files of one source, or of all ("").

    auc: in [0.5, 1], of the property alone. higher: the class that has the higher values, or, of a property without an
    order, "". real, fake: how many files.
    """

    property: str
    source: str
    auc: float
    higher: str
    real: int
    fake: int


def measure(root: Path, items: Sequence[Item], workers: int | None = None) -> list[Shortcut]:
    """The AUC of each property, over all files and within each source that has both classes; the highest first.

    At most ``MOST`` files of each source and class are read, evenly spaced over the list.

    Raises:
        ModelsUnavailable: the face models cannot be had; they measure how much of the picture a face fills.
    """
    chosen = list(_chosen(items))
    load_models()
    looked = run_isolated(
        look, [root / item.file for item in chosen], workers=workers, seconds=_SECONDS, initializer=open_faces
    )
    rows = []
    with closing(looked) as results:
        for item, found in zip(chosen, results, strict=True):
            if not isinstance(found, Rejected):
                rows.append((item, found | {"length of the name": len(Path(item.file).name)}))
    return shortcuts([item.label for item, _ in rows], [item.source for item, _ in rows], [row for _, row in rows])


def _chosen(items: Sequence[Item]) -> Iterator[Item]:
    groups: dict[tuple[str, int], list[Item]] = {}
    for item in items:
        groups.setdefault((item.source, item.label), []).append(item)
    for own in groups.values():
        for place in np.unique(np.linspace(0, len(own) - 1, min(MOST, len(own))).round().astype(int)):
            yield own[place]


def look(path: Path) -> dict[str, float | str]:
    """The properties of one file; of a video those of its first frame. Raises UnreadableMedia."""
    found: dict[str, float | str] = {}
    if kind_of(path) == "image":
        pixels = read_photo(path)
        with open_photo(path, Limits()) as image:
            found |= {"container": image.format, "JPEG quality": _quality(image), "colour subsampling": _chroma(image)}
    else:
        info = probe(path)
        pixels = next(iter(read_frames(path, Sampling(count=1)))).pixels
        found |= {"container": path.suffix.lower(), "duration": info.duration}
    height, width = pixels.shape[:2]
    found |= {
        "size": float(width * height),
        "aspect": width / height,
        "bytes a pixel": path.stat().st_size / (width * height),
    }
    found |= of_pixels(pixels)
    if faces := own_faces().detect(pixels):
        found["share of the face"] = faces[0].side / min(width, height)
    return found


def of_pixels(pixels: np.ndarray) -> dict[str, float | str]:
    """The properties of a picture (H, W, 3) uint8 RGB itself."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return {
        "sharpness": float(cv2.Laplacian(grey, cv2.CV_32F).var()),
        "brightness": float(grey.mean()),
        "saturation": float(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[..., 1].mean()),
    }


def shortcuts(labels: Sequence[int], sources: Sequence[str], rows: Sequence[dict[str, float | str]]) -> list[Shortcut]:
    """As ``measure``, of properties that are known. A property that a file lacks leaves that file out."""
    labels, sources = np.asarray(labels), np.asarray(sources)
    names = dict.fromkeys(name for row in rows for name in row)
    both = [name for name in np.unique(sources) if len(np.unique(labels[sources == name])) == 2]
    out = []
    for source in ["", *(both if len(np.unique(sources)) > 1 else [])]:
        for name in names:
            own = [n for n, row in enumerate(rows) if name in row and source in ("", sources[n])]
            real, fake = (sum(labels[own] == label) for label in (REAL, FAKE)) if own else (0, 0)
            if min(real, fake) >= LEAST:
                values = [rows[n][name] for n in own]
                auc, higher = _auc(values, labels[own])
                out.append(Shortcut(name, str(source), auc, higher, int(real), int(fake)))
    return sorted(out, key=lambda one: -one.auc)


def lines(found: Iterable[Shortcut]) -> Iterator[str]:
    """A sentence for each AUC above ``WARN``: all sources together first."""
    for one in sorted(found, key=lambda one: (one.source != "", -one.auc)):
        if one.auc > WARN:
            where = f"in {one.source}" if one.source else "over all files"
            counts = f"{one.real} real, {one.fake} fake"
            how = f", higher for {one.higher}" if one.higher else ""
            yield f"{one.property} tells real from fake {where}: AUC {one.auc:.2f}{how} ({counts})"


def _auc(values: Sequence[float | str], labels: np.ndarray) -> tuple[float, str]:
    from sklearn.metrics import roc_auc_score

    if isinstance(values[0], str):  # each word counts as the share of fakes among its files
        _, number = np.unique(values, return_inverse=True)
        share = np.bincount(number, labels == FAKE) / np.bincount(number)
        return float(roc_auc_score(labels == FAKE, share[number])), ""
    auc = float(roc_auc_score(labels == FAKE, values))
    return max(auc, 1 - auc), "fakes" if auc >= 0.5 else "real ones"


def _quality(image: Image.Image) -> float:
    """The quality of a JPEG by its luminance table, in libjpeg's scale; 100 of any other format."""
    table = getattr(image, "quantization", {}).get(0)
    if not table:
        return 100.0
    scale = 100 * float(np.mean(table)) / _STANDARD
    return (200 - scale) / 2 if scale <= 100 else 5000 / scale


def _chroma(image: Image.Image) -> str:
    if image.format != "JPEG":
        return "none"
    return {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}.get(JpegImagePlugin.get_sampling(image), "other")
