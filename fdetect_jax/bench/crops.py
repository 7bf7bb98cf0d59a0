"""The stored crops that ``input_pipeline`` reads, as in training. Both sides make the same rows of them."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fdetect_jax.bench.setting import Setting
from fdetect_jax.data.augment import Augment
from fdetect_jax.data.rows import MakeRow
from fdetect_jax.datasets.crop_store import CropReader, write_crops
from fdetect_jax.datasets.photo_crops import Crop
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.forgery import make_mix
from fdetect_jax.types import Example

_DRAWN = 256  # pixels, the largest size at which a face is drawn
_NOISE = 2.0  # of 255, camera noise; it makes files as large as those of photographs


class StoredFaces:
    """The crops of a folder that ``store`` wrote."""

    fingerprint = "drawn, enlarged, noisy"

    def __init__(self, folder: Path, recipe: CropRecipe):
        self.recipe, self._reader = recipe, CropReader(folder)

    @property
    def size(self) -> int:
        return self.recipe.size

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Example:
        return self._reader[index]


def store(setting: Setting, recipe: CropRecipe) -> Path:
    """Writes ``setting.faces`` drawn faces of different people, enlarged and with camera noise."""
    drawn = FaceSim("train", min(_DRAWN, recipe.size), setting.faces, 1, 0)
    rng, side = np.random.default_rng(0), (recipe.size, recipe.size)
    scale = recipe.size / drawn.size

    def rows() -> Iterator[tuple[Crop, int, str]]:
        for number in range(len(drawn)):
            face = drawn[number]
            image = cv2.resize(face["image"], side, interpolation=cv2.INTER_CUBIC)
            image = np.clip(np.round(image + rng.normal(0, _NOISE, image.shape)), 0, 255).astype(np.uint8)
            landmarks = ((face["landmarks"] + 0.5) * scale - 0.5).astype(np.float32)
            yield Crop(cv2.imencode(".png", image[..., ::-1])[1].tobytes(), landmarks, None), number, f"{number}.png"

    return write_crops(rows(), recipe, Path(setting.scratch) / "crops")


def make_row(setting: Setting) -> MakeRow:
    """Reads a face, forges it, augments both. The first call with a given ``setting.scratch`` writes the crops."""
    recipe, written = CropRecipe(setting.pixels, 1.3), Path(setting.scratch) / "crops"
    found = [path.parent for path in written.rglob("dataset_info.json")]
    source = StoredFaces(found[0] if found else store(setting, recipe), recipe)
    mix = make_mix({"mix": {setting.forgery: 1.0}}, None, "train", recipe, True)
    return MakeRow(source, mix.slots(1), Augment())
