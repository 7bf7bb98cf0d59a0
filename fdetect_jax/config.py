"""Every check of a config, in one place, before any work starts: what was found, what was wanted, which field.

A config comes from a file of ``configs/`` with fields overridden on the command line. Names that a registry holds
are checked against it here; files and folders are only looked for, not read.
"""

from collections.abc import Iterable
from pathlib import Path

from ml_collections import ConfigDict

from fdetect_jax.errors import UserError

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


class ConfigError(UserError):
    """A field that cannot be used."""


def check(config: ConfigDict) -> None:
    """Checks every field that can be checked without working.

    Raises:
      ConfigError: naming the first field that does not fit, what was found and what was wanted.
    """
    _one_of(config, "task", TASKS)
    for field in ("steps", "log_every", "checkpoint_every", "keep_checkpoints"):
        _at_least(config, field, 1)
    _rows(config, "batch_size")
    _at_least(config, "data.workers", 0)
    _data(config)
    {"detector": _detector, "gan": _gan, "inversion": _inversion}[config.task](config)


def _data(config: ConfigDict) -> None:
    _one_of(config, "data.source", SOURCES)
    for path in _parts(config):
        _part(config, path)
    if config.data.source != "mixture":
        return
    from fdetect_jax.data.mixture import cycle

    for path in _parts(config):
        if _get(config, f"{path}.size") != config.data.size:
            _refuse(f"{path}.size", _get(config, f"{path}.size"), f"{config.data.size}, data.size")
    recipes = {name: part.recipe for name, part in config.data.parts.items() if "recipe" in part}
    if len(set(recipes.values())) > 1:
        _refuse("data.parts", recipes, "one recipe: a detector is served one kind of crop")
    try:
        cycle({name: _get(config, f"data.parts.{name}.weight") for name in config.data.parts})
    except ValueError as error:
        raise ConfigError(f"data.parts.{error}") from None


def _parts(config: ConfigDict) -> list[str]:
    """The fields under which the sources stand: ``data``, or one for each part of a mixture."""
    if config.data.source != "mixture":
        return ["data"]
    if not _get(config, "data.parts"):
        _refuse("data.parts", {}, "sources by name, each with a weight")
    return [f"data.parts.{name}" for name in config.data.parts]


def _part(config: ConfigDict, path: str) -> None:
    _one_of(config, f"{path}.source", [name for name in SOURCES if name != "mixture"])
    data = _get(config, path)
    if data.source == "facesim":
        for split in ("train", "val", "test"):
            _at_least(config, f"{path}.identities.{split}", 1)
        _at_least(config, f"{path}.per_identity", 1)
        _between(config, f"{path}.size", 32, 256)
        return
    from fdetect_jax.media.crop import RECIPES

    _one_of(config, f"{path}.recipe", RECIPES)
    _between(config, f"{path}.size", 32, 1024)
    hint = {("paper", 380): _FACEFORENSICS, ("sbi", 380): _SBI}.get((data.recipe, data.size), _FOLDER)
    where = hint.replace("config.data.root", f"config.{path}.root")
    if not data.root:
        _refuse(f"{path}.root", data.root, where)
    if not Path(data.root).is_dir():
        _refuse(f"{path}.root", data.root, f"an existing folder: {where}")
    if data.source == "prepared":
        _prepared(config, path)


def _prepared(config: ConfigDict, path: str) -> None:
    from fdetect_jax.data.sources import make_source
    from fdetect_jax.media.crop import make_recipe

    data = _get(config, path)
    held_out = {"detector": lambda: [config.evaluation.split], "inversion": lambda: ["test"], "gan": list}
    for split in ("train", *held_out[config.task]()):
        try:
            source = make_source(data, split)
        except ValueError as error:
            raise ConfigError(f"{path}.root: {error}") from None
        if source.recipe != make_recipe(data.recipe, data.size):
            wanted = f"what `fdetect prepare --recipe {data.recipe} --size {data.size}` made, for {path}.recipe"
            _refuse(f"{path}.root", f"{data.root} of {source.recipe}", wanted)


def _detector(config: ConfigDict) -> None:
    import jax

    from fdetect_jax.data.augment import Augment
    from fdetect_jax.detectors import DETECTORS, make_detector
    from fdetect_jax.forgery import FORGERIES
    from fdetect_jax.forgery.host import GIVEN, HOST_FORGERIES, MIXED, make_host_forgery
    from fdetect_jax.losses.objective import MODES, TURNS
    from fdetect_jax.losses.terms import FORMS, PAIRS, TERMS
    from fdetect_jax.nn.margin import FORMS as MARGIN_FORMS
    from fdetect_jax.optim.base import OPTIMIZERS

    _one_of(config, "detector.name", DETECTORS)
    _one_of(config, "detector.dtype", ("float32", "bfloat16"))
    _one_of(config, "forgery.kind", [*FORGERIES, *HOST_FORGERIES, GIVEN, MIXED])
    if config.forgery.kind == MIXED:
        kinds = list(_get(config, "forgery.kinds"))
        if not kinds or not set(kinds) <= set(HOST_FORGERIES):
            _refuse("forgery.kinds", kinds, f"some of {sorted(HOST_FORGERIES)}")
    if config.forgery.kind == GIVEN:
        for path in _parts(config):
            if _get(config, f"{path}.source") != "prepared":
                _refuse("forgery.kind", GIVEN, f"{path}.source 'prepared': only such data come with fakes of their own")
        try:
            make_host_forgery(config.forgery, config.data, "train", None, True)
        except ValueError as error:
            raise ConfigError(f"forgery.kind: found {GIVEN!r}, but {error}") from None
    if config.detector.weights and not Path(config.detector.weights).is_file():
        _refuse("detector.weights", config.detector.weights, "a weights file to start from, or ''")
    _one_of(config, "evaluation.forgery.kind", ("latent", "none"))  # the first gives the reconstruction as well
    _one_of(config, "evaluation.unseen.kind", ("reconstruction", "none"))
    for path in ("forgery", "evaluation.forgery", "evaluation.unseen"):
        if _get(config, f"{path}.kind") == "latent":
            _attack(config, path)
        if _get(config, f"{path}.kind") in ("latent", "reconstruction"):
            _inverter(config, path)
    if config.evaluation.forgery.get("space") == "z":
        _refuse("evaluation.forgery.space", "z", "'w' or 'w+': in z there is no reconstruction of the face at hand")
    make_detector(config.detector.name, config.detector.overrides.to_dict())  # these two name the field themselves
    Augment(**config.augment.to_dict())
    for name in config.losses:
        if name not in TERMS:
            _refuse("losses", name, f"terms among {sorted(TERMS)}")
        _at_least(config, f"losses.{name}.weight", 0)
    if "contrastive" in config.losses:
        _one_of(config, "losses.contrastive.form", FORMS)
        _one_of(config, "losses.contrastive.pairs", PAIRS)
        _above(config, "losses.contrastive.margin", 0)
    own = config.detector.overrides if config.detector.name == "multiresolution" else {"head": None}
    weighed = {name for name in config.losses if config.losses[name].weight}
    if "arcface" in weighed:
        if own.get("head", "arcface") != "arcface":
            _refuse(
                "detector",
                config.detector.name,
                "multiresolution with an arcface head, since losses.arcface.weight > 0",
            )
        _between(config, "losses.arcface.margin", 0, 3.14)
        _above(config, "losses.arcface.scale", 0)
        _one_of(config, "losses.arcface.form", MARGIN_FORMS)
    if "attention" in weighed and config.detector.name != "multiresolution":
        _refuse("detector.name", config.detector.name, "multiresolution, since losses.attention.weight > 0")
    _one_of(config, "objective.mode", MODES)
    _one_of(config, "objective.turn", TURNS)
    _between(config, "objective.lam", 0, 1)
    objectives = {TERMS[name].objective for name in config.losses if config.losses[name].weight}
    lam, mode = config.objective.lam, config.objective.mode
    needed = {"classifier", "metric"} if mode == "alternating" else {"classifier"} if lam > 0 else {"metric"}
    if not needed <= objectives:
        _refuse("losses", sorted(config.losses), f"a term with weight for each objective of {sorted(needed)}")
    if mode == "alternating" and lam != 1.0:
        _refuse("objective.lam", lam, "1.0: it weighs joint objectives, and alternating ones take turns unweighted")
    _one_of(config, "optimizer.name", OPTIMIZERS)
    _above(config, "optimizer.learning_rate", 0)
    _between(config, "optimizer.momentum", 0, 1)
    _between(config, "optimizer.decay_after", 0, 1)
    _at_least(config, "optimizer.weight_decay", 0)
    _at_least(config, "optimizer.sam.rho", 0)
    _one_of(config, "optimizer.sam.batch_stats", ("first", "both"))
    if config.forgery.kind in FORGERIES:
        _at_least(config, "forgery.warmup", 0)
        _one_of(config, "forgery.half", ("", *HOST_FORGERIES))
        if config.forgery.half and config.batch_size < 2 * jax.device_count():
            _refuse("batch_size", config.batch_size, "two rows a device or more: forgery.half makes every second fake")
    _one_of(config, "evaluation.split", ("val", "test"))
    _rows(config, "evaluation.batch_size")
    _at_least(config, "evaluation.limit", 1)
    for path in _parts(config):
        if _get(config, f"{path}.source") == "facesim":  # a swap takes another person's face
            _at_least(config, f"{path}.identities.{config.evaluation.split}", 2)
            _at_least(config, f"{path}.identities.train", 2)


def _attack(config: ConfigDict, path: str) -> None:
    from fdetect_jax.forgery.latent import RENDERS, SPACES
    from fdetect_jax.forgery.pgd import Attack

    _one_of(config, f"{path}.space", SPACES)
    _one_of(config, f"{path}.render", RENDERS)
    try:
        Attack(**_get(config, f"{path}.attack").to_dict())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}.attack: {error}") from None


def _inverter(config: ConfigDict, path: str) -> None:
    from fdetect_jax import assets

    _one_of(config, f"{path}.dtype", ("float32", "bfloat16"))
    _one_of(config, f"{path}.remat", (False, True))
    try:
        assets.inverter(_get(config, f"{path}.inverter"))
    except ValueError as error:
        hint = f"; {_INVERTER}, given as --config.{path}.inverter=DIR" if config.data.get("recipe") == "paper" else ""
        raise ConfigError(f"{path}.{error}{hint}") from None


def _gan(config: ConfigDict) -> None:
    size = config.generator.resolution
    if config.data.size != size:
        _refuse("data.size", config.data.size, f"{size}, generator.resolution")
    if config.generator.w_dim != config.encoder.w_dim:
        _refuse("encoder.w_dim", config.encoder.w_dim, f"{config.generator.w_dim}, generator.w_dim")
    _at_least(config, "group_size", 1)
    if config.batch_size % min(config.group_size, config.batch_size):
        _refuse("group_size", config.group_size, f"a divisor of batch_size {config.batch_size}")
    _at_least(config, "adversarial_interval", 1)
    if config.adversarial_interval > 1 and not config.reconstruction.weight:
        _refuse("adversarial_interval", config.adversarial_interval, "1, since reconstruction.weight is 0")
    for field in ("reconstruction.weight", "r1.gamma", "path_length.weight"):
        _at_least(config, field, 0)
    for field in ("r1.interval", "path_length.interval"):
        _at_least(config, field, 1)
    _between(config, "style_mixing", 0, 1)
    _above(config, "ema_kimg", 0)
    _trained(config)


def _trained(config: ConfigDict) -> None:
    """Fields of both trainers of a pair."""
    _above(config, "learning_rate", 0)
    _rows(config, "eval_batch_size")
    _at_least(config, "eval_limit", 1)


def _inversion(config: ConfigDict) -> None:
    from fdetect_jax import weights
    from fdetect_jax.optim.schedules import SCHEDULES

    _trained(config)
    _at_least(config, "encoder_learning_rate", 0)
    _one_of(config, "schedule", SCHEDULES)
    _between(config, "adam_b2", 0, 1)
    _at_least(config, "losses.adversarial.r1_interval", 1)
    if not (Path(config.inverter) / "generator.safetensors").is_file():
        _refuse(
            "pair",
            config.inverter,
            "a folder with generator.safetensors, as configs/gan.py writes it (<workdir>/inverter)",
        )
    size = weights.describe(Path(config.inverter) / "generator.safetensors", "generator")[0]["resolution"]
    if config.data.size != size:
        _refuse("data.size", config.data.size, f"{size}, the resolution of the generator of {config.inverter}")
    for name, options in config.losses.items():
        _at_least(config, f"losses.{name}.weight", 0)
        if options.weight and "weights" in options and not Path(options.weights).is_file():
            _refuse(f"losses.{name}.weights", options.weights, f"a safetensors file, since losses.{name}.weight > 0")
    if config.losses.adversarial.weight and not (Path(config.inverter) / "discriminator.safetensors").is_file():
        _refuse(
            "losses.adversarial.weight", config.losses.adversarial.weight, f"0: {config.inverter} has no discriminator"
        )


def _rows(config: ConfigDict, field: str) -> None:
    """A batch that every device gets an equal share of."""
    import jax

    _at_least(config, field, 1)
    if _get(config, field) % jax.device_count():
        _refuse(field, _get(config, field), f"a multiple of {jax.device_count()}, the number of devices")


def _get(config: ConfigDict, field: str):
    value = config
    for name in field.split("."):
        if name not in value:
            raise ConfigError(f"{field}: found no such field, wanted one")
        value = value[name]
    return value


def _refuse(field: str, found, wanted: str) -> None:
    raise ConfigError(f"{field}: found {found!r}, wanted {wanted}")


def _one_of(config: ConfigDict, field: str, allowed: Iterable[str]) -> None:
    value = _get(config, field)
    if value not in allowed:
        _refuse(field, value, f"one of {sorted(allowed)}")


def _at_least(config: ConfigDict, field: str, least: float) -> None:
    if not _get(config, field) >= least:
        _refuse(field, _get(config, field), f"at least {least}")


def _above(config: ConfigDict, field: str, low: float) -> None:
    if not _get(config, field) > low:
        _refuse(field, _get(config, field), f"more than {low}")


def _between(config: ConfigDict, field: str, low: float, high: float) -> None:
    if not low <= _get(config, field) <= high:
        _refuse(field, _get(config, field), f"a value in [{low}, {high}]")
