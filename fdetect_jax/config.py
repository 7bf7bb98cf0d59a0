"""Every check of a config, in one place, before any work starts: what was found, what was wanted, which field.

A config comes from a file of ``configs/`` with fields overridden on the command line. Names that a registry holds
are checked against it here; files and folders are only looked for, not read.
"""

from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from fdetect_jax.errors import UserError
from fdetect_jax.fields import above, at_least, between, get, one_of, refuse, rows

TASKS = ("detector", "gan", "inversion")
SOURCES = ("facesim", "folder", "prepared", "mixture")

_FOLDER = "a folder of photographs with faces, given as --config.data.root=DIR; sub-folders are taken for people"
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
_INVERTER = (
    "the paper's is a 1024 px StyleGAN2 with HyperInverter on FFHQ (https://github.com/NVlabs/ffhq-dataset): "
    "configs/gan.py:config_f and then configs/inversion.py:paper write one to <workdir>/inverter"
)


def check(config: ConfigDict) -> None:
    """Checks every field that can be checked without working.

    Raises:
      UserError: naming the first field that does not fit, what was found and what was wanted.
    """
    one_of(config, "task", TASKS)
    for field in ("steps", "log_every", "checkpoint_every", "keep_checkpoints"):
        at_least(config, field, 1)
    rows(config, "batch_size")
    at_least(config, "data.workers", 0)
    _data(config)
    _trainer_check(config.task)(config)


def _trainer_check(task: str) -> Callable[[ConfigDict], None]:
    from fdetect_jax.train import gan, inversion

    return {"detector": _detector, "gan": gan.check, "inversion": inversion.check}[task]


def _data(config: ConfigDict) -> None:
    one_of(config, "data.source", SOURCES)
    for path in _parts(config):
        _part(config, path)
    if config.data.source != "mixture":
        return
    from fdetect_jax.data.mixture import cycle

    for path in _parts(config):
        if get(config, f"{path}.size") != config.data.size:
            refuse(f"{path}.size", get(config, f"{path}.size"), f"{config.data.size}, data.size")
    recipes = {name: part.recipe for name, part in config.data.parts.items() if "recipe" in part}
    if len(set(recipes.values())) > 1:
        refuse("data.parts", recipes, "one recipe: a detector is served one kind of crop")
    try:
        cycle({name: get(config, f"data.parts.{name}.weight") for name in config.data.parts})
    except ValueError as error:
        raise UserError(f"data.parts.{error}") from None


def _parts(config: ConfigDict) -> list[str]:
    """The fields under which the sources stand: ``data``, or one for each part of a mixture."""
    if config.data.source != "mixture":
        return ["data"]
    if not get(config, "data.parts"):
        refuse("data.parts", {}, "sources by name, each with a weight")
    return [f"data.parts.{name}" for name in config.data.parts]


def _part(config: ConfigDict, path: str) -> None:
    one_of(config, f"{path}.source", [name for name in SOURCES if name != "mixture"])
    data = get(config, path)
    if data.source == "facesim":
        for split in ("train", "val", "test"):
            at_least(config, f"{path}.identities.{split}", 1)
        at_least(config, f"{path}.per_identity", 1)
        between(config, f"{path}.size", 32, 256)
        return
    from fdetect_jax.media.crop import RECIPES

    one_of(config, f"{path}.recipe", RECIPES)
    between(config, f"{path}.size", 32, 1024)
    hint = {("paper", 380): _FACEFORENSICS, ("sbi", 380): _SBI}.get((data.recipe, data.size), _FOLDER)
    where = hint.replace("config.data.root", f"config.{path}.root")
    if not data.root:
        refuse(f"{path}.root", data.root, where)
    if not Path(data.root).is_dir():
        refuse(f"{path}.root", data.root, f"an existing folder: {where}")
    if data.source == "prepared":
        _prepared(config, path)


def _prepared(config: ConfigDict, path: str) -> None:
    from fdetect_jax.data.sources import make_source
    from fdetect_jax.media.crop import make_recipe

    data = get(config, path)
    held_out = {"detector": lambda: [config.evaluation.split], "inversion": lambda: ["test"], "gan": list}
    for split in ("train", *held_out[config.task]()):
        try:
            source = make_source(data, split)
        except ValueError as error:
            raise UserError(f"{path}.root: {error}") from None
        if source.recipe != make_recipe(data.recipe, data.size):
            wanted = f"what `fdetect prepare --recipe {data.recipe} --size {data.size}` made, for {path}.recipe"
            refuse(f"{path}.root", f"{data.root} of {source.recipe}", wanted)


def _detector(config: ConfigDict) -> None:
    import jax

    from fdetect_jax.data.augment import Augment
    from fdetect_jax.detectors import DETECTORS, make_detector
    from fdetect_jax.forgery import FORGERIES
    from fdetect_jax.forgery.host import GIVEN, HOST_FORGERIES, MIXED, make_host_forgery
    from fdetect_jax.losses.objective import MODES, TURNS
    from fdetect_jax.losses.terms import FORMS, PAIRS, TERMS
    from fdetect_jax.nn.margin import FORMS as MARGIN_FORMS
    from fdetect_jax.optim.base import check_optimizer

    one_of(config, "detector.name", DETECTORS)
    one_of(config, "detector.dtype", ("float32", "bfloat16"))
    one_of(config, "forgery.kind", [*FORGERIES, *HOST_FORGERIES, GIVEN, MIXED])
    if config.forgery.kind == MIXED:
        kinds = list(get(config, "forgery.kinds"))
        if not kinds or not set(kinds) <= set(HOST_FORGERIES):
            refuse("forgery.kinds", kinds, f"some of {sorted(HOST_FORGERIES)}")
    if config.forgery.kind == GIVEN:
        for path in _parts(config):
            if get(config, f"{path}.source") != "prepared":
                refuse("forgery.kind", GIVEN, f"{path}.source 'prepared': only such data come with fakes of their own")
        try:
            make_host_forgery(config.forgery, config.data, "train", None, True)
        except ValueError as error:
            raise UserError(f"forgery.kind: found {GIVEN!r}, but {error}") from None
    if config.detector.weights and not Path(config.detector.weights).is_file():
        refuse("detector.weights", config.detector.weights, "a weights file to start from, or ''")
    one_of(config, "evaluation.forgery.kind", ("latent", "none"))  # the first gives the reconstruction as well
    one_of(config, "evaluation.unseen.kind", ("reconstruction", "none"))
    for path in ("forgery", "evaluation.forgery", "evaluation.unseen"):
        if get(config, f"{path}.kind") == "latent":
            _attack(config, path)
        if get(config, f"{path}.kind") in ("latent", "reconstruction"):
            _inverter(config, path)
    if config.evaluation.forgery.get("space") == "z":
        refuse("evaluation.forgery.space", "z", "'w' or 'w+': in z there is no reconstruction of the face at hand")
    make_detector(config.detector.name, config.detector.overrides.to_dict())  # these two name the field themselves
    Augment(**config.augment.to_dict())
    for name in config.losses:
        if name not in TERMS:
            refuse("losses", name, f"terms among {sorted(TERMS)}")
        at_least(config, f"losses.{name}.weight", 0)
    if "contrastive" in config.losses:
        one_of(config, "losses.contrastive.form", FORMS)
        one_of(config, "losses.contrastive.pairs", PAIRS)
        above(config, "losses.contrastive.margin", 0)
    own = config.detector.overrides if config.detector.name == "multiresolution" else {"head": None}
    weighed = {name for name in config.losses if config.losses[name].weight}
    if "arcface" in weighed:
        if own.get("head", "arcface") != "arcface":
            refuse(
                "detector",
                config.detector.name,
                "multiresolution with an arcface head, since losses.arcface.weight > 0",
            )
        between(config, "losses.arcface.margin", 0, 3.14)
        above(config, "losses.arcface.scale", 0)
        one_of(config, "losses.arcface.form", MARGIN_FORMS)
    if "attention" in weighed and config.detector.name != "multiresolution":
        refuse("detector.name", config.detector.name, "multiresolution, since losses.attention.weight > 0")
    one_of(config, "objective.mode", MODES)
    one_of(config, "objective.turn", TURNS)
    between(config, "objective.lam", 0, 1)
    objectives = {TERMS[name].objective for name in config.losses if config.losses[name].weight}
    lam, mode = config.objective.lam, config.objective.mode
    needed = {"classifier", "metric"} if mode == "alternating" else {"classifier"} if lam > 0 else {"metric"}
    if not needed <= objectives:
        refuse("losses", sorted(config.losses), f"a term with weight for each objective of {sorted(needed)}")
    if mode == "alternating" and lam != 1.0:
        refuse("objective.lam", lam, "1.0: it weighs joint objectives, and alternating ones take turns unweighted")
    check_optimizer(config)
    if config.forgery.kind in FORGERIES:
        at_least(config, "forgery.warmup", 0)
        one_of(config, "forgery.half", ("", *HOST_FORGERIES))
        if config.forgery.half and config.batch_size < 2 * jax.device_count():
            refuse("batch_size", config.batch_size, "two rows a device or more: forgery.half makes every second fake")
    one_of(config, "evaluation.split", ("val", "test"))
    rows(config, "evaluation.batch_size")
    at_least(config, "evaluation.limit", 1)
    for path in _parts(config):
        if get(config, f"{path}.source") == "facesim":  # a swap takes another person's face
            at_least(config, f"{path}.identities.{config.evaluation.split}", 2)
            at_least(config, f"{path}.identities.train", 2)


def _attack(config: ConfigDict, path: str) -> None:
    from fdetect_jax.forgery.latent import RENDERS, SPACES
    from fdetect_jax.forgery.pgd import Attack

    one_of(config, f"{path}.space", SPACES)
    one_of(config, f"{path}.render", RENDERS)
    try:
        Attack(**get(config, f"{path}.attack").to_dict())
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}.attack: {error}") from None


def _inverter(config: ConfigDict, path: str) -> None:
    from fdetect_jax import assets

    one_of(config, f"{path}.dtype", ("float32", "bfloat16"))
    one_of(config, f"{path}.remat", (False, True))
    try:
        assets.inverter(get(config, f"{path}.inverter"))
    except ValueError as error:
        hint = f"; {_INVERTER}, given as --config.{path}.inverter=DIR" if config.data.get("recipe") == "paper" else ""
        raise UserError(f"{path}.{error}{hint}") from None
