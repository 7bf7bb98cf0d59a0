"""Checks ``config.data`` before any work. Files and folders must exist; their contents are not read."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from fdetect_jax.data.mixture import cycle
from fdetect_jax.data.sources import LEAVE_OUT, MIXTURE, SOURCES, make_source
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import RECIPES, make_recipe
from fdetect_jax.fields import at_least, between, get, known, one_of, refuse
from fdetect_jax.remote import here

_FOLDER = "a folder of photographs with faces, given as --config.data.root=DIR; each sub-folder is one person"
_FACEFORENSICS = (
    "FaceForensics++ (c23): ask its authors for the download script (https://github.com/ondyari/FaceForensics), then "
    "`fdetect prepare faceforensics --root DOWNLOAD --output DIR --compression c23 --methods real "
    "--train-fraction 0.1`, and give --config.data.source=prepared --config.data.root=DIR"
)
_SBI = (
    "the real videos of FaceForensics++ (raw): ask its authors for the download script "
    "(https://github.com/ondyari/FaceForensics), then `fdetect prepare faceforensics --root DOWNLOAD --output DIR "
    "--compression raw --methods real --recipe sbi --frames 8`, and give --config.data.source=prepared "
    "--config.data.root=DIR"
)


def check_data(config: ConfigDict, splits: Sequence[str]) -> None:
    """Checks ``config.data``. splits: the splits that the run will read.

    Raises:
      UserError: names the field.
    """
    at_least(config, "data.workers", 0)
    at_least(config, "data.frames", 0)
    between(config, "data.max_unusable", 0, 1)
    one_of(config, "data.source", [*SOURCES, MIXTURE])
    for path in parts_of(config):
        _part(config, path, splits)
    if config.data.source != MIXTURE:
        return
    for path in parts_of(config):
        if get(config, f"{path}.size") != config.data.size:
            refuse(f"{path}.size", get(config, f"{path}.size"), f"{config.data.size}, data.size")
    recipes = {name: part.recipe for name, part in config.data.parts.items() if "recipe" in part}
    if len(set(recipes.values())) > 1:
        refuse("data.parts", recipes, "one recipe: a detector takes one kind of crop")
    try:
        cycle({name: get(config, f"data.parts.{name}.weight") for name in config.data.parts})
    except UserError as error:
        raise UserError(f"data.parts.{error}") from None


def parts_of(config: ConfigDict) -> list[str]:
    """The config paths of the sources: ``data``, or one for each part of a mixture."""
    if config.data.source != MIXTURE:
        return ["data"]
    if not get(config, "data.parts"):
        refuse("data.parts", {}, "sources by name, each with a weight")
    return [f"data.parts.{name}" for name in config.data.parts]


def _part(config: ConfigDict, path: str, splits: Sequence[str]) -> None:
    one_of(config, f"{path}.source", SOURCES)
    data = get(config, path)
    if data.source == "facesim":
        for split in ("train", "val", "test"):
            at_least(config, f"{path}.identities.{split}", 1)
        at_least(config, f"{path}.per_identity", 1)
        between(config, f"{path}.size", 32, 256)
        return
    if data.source not in ("folder", "prepared"):
        return  # a source registered from outside checks its own fields
    one_of(config, f"{path}.recipe", RECIPES)
    between(config, f"{path}.size", 32, 1024)
    hint = {("paper", 380): _FACEFORENSICS, ("sbi", 380): _SBI}.get((data.recipe, data.size), _FOLDER)
    where = hint.replace("config.data.root", f"config.{path}.root")
    if not data.root:
        refuse(f"{path}.root", data.root, where)
    if not Path(here(data.root)).is_dir():
        refuse(f"{path}.root", data.root, f"an existing folder: {where}")
    left_out = data.get("leave_out", {})
    known(left_out, LEAVE_OUT, f"{path}.leave_out")
    if data.source == "prepared":
        if "balance" in data:
            between(config, f"{path}.balance", 0, 1)
        _prepared(config, path, splits)
    elif any(left_out.values()):
        refuse(f"{path}.leave_out", left_out.to_dict(), "nothing, since only prepared data know their generators")


def _prepared(config: ConfigDict, path: str, splits: Sequence[str]) -> None:
    data = get(config, path)
    for split in splits:
        try:
            source = make_source(data, split)
        except UserError as error:
            raise UserError(f"{path}.root: {error}") from None
        if source.recipe != make_recipe(data.recipe, data.size):
            wanted = f"the output of `fdetect prepare --recipe {data.recipe} --size {data.size}`, for {path}.recipe"
            refuse(f"{path}.root", f"{data.root} of {source.recipe}", wanted)
