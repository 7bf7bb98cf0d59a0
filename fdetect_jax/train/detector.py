"""The detector trainer, Algorithm 1: makes fakes against the current detector, then one SAM step on real and fake.

Fakes are drawn once per step, in eval mode, outside the gradient; fakes of host forgeries arrive with the batch.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from fdetect_jax import parallel, weights
from fdetect_jax.convert.pretrained import PRETRAINED, start_from
from fdetect_jax.data import pipeline
from fdetect_jax.data.augment import Augment
from fdetect_jax.data.check import check_data, parts_of
from fdetect_jax.data.sources import make_source
from fdetect_jax.data.targets import MADE, TARGETS
from fdetect_jax.detectors import DETECTORS, find_detector, make_detector
from fdetect_jax.errors import UserError
from fdetect_jax.fields import at_least, get, one_of, refuse, rows
from fdetect_jax.forgery import Scene, check_mix, deal, make_mix, needs_context, weights_of
from fdetect_jax.inference.calibration import KEY as CALIBRATION
from fdetect_jax.inference.lead import KEY as LEAD
from fdetect_jax.losses.objective import check_objective, hold, make_objective
from fdetect_jax.losses.terms import find_term, require
from fdetect_jax.nn.keys import purpose
from fdetect_jax.optim.base import averaged, check_optimizer, make_optimizer
from fdetect_jax.optim.schedules import constant_then_linear, staircase
from fdetect_jax.remote import here
from fdetect_jax.report.gallery import gallery_png
from fdetect_jax.train.classed import classes_of
from fdetect_jax.train.held_out import HeldOut, check_tests
from fdetect_jax.train.speed import size_of, speed_of
from fdetect_jax.train.task import EvaluationResult
from fdetect_jax.types import FAKE, KINDS, REAL, Batch, TrainState, margin

EMBEDDINGS = "embeddings.safetensors"  # of held-out faces, (N, D) by kind of face


def check(config: ConfigDict) -> None:
    """Checks a detector's config before any work.

    Raises:
      UserError: names the field, the value found and the values wanted.
    """
    split = get(config, "evaluation.split")
    one_of(config, "evaluation.split", ("val", "test"))
    check_data(config, ["train", split])
    for field in ("batch_size", "evaluation.batch_size"):
        rows(config, field)
    at_least(config, "evaluation.limit", 1)
    at_least(config, "evaluation.seed", 0)
    one_of(config, "detector.name", DETECTORS)
    one_of(config, "detector.dtype", ("float32", "bfloat16"))
    start = config.detector.weights
    if start and start not in PRETRAINED and not Path(here(start)).is_file():
        refuse("detector.weights", start, f"a weights file to start from, one of {', '.join(PRETRAINED)}, or ''")
    make_detector(config.detector.name, config.detector.overrides.to_dict())  # names the field in its errors
    check_mix(config.forgery, config.data)
    check_tests(config.evaluation)
    one_of(config, "evaluation.speed", (True, False))
    deal(weights_of(config.forgery), config.batch_size // parallel.devices())
    Augment(**config.augment.to_dict())
    for name, options in config.losses.items():
        term = find_term(name)
        at_least(config, f"losses.{name}.weight", 0)
        if options.weight:
            term.check(options, f"losses.{name}")
    check_objective(config.objective)
    make_objective(config, 1)  # refuses terms and stages that cannot be; epochs are not counted yet
    check_optimizer(config)
    for path in parts_of(config):
        if get(config, f"{path}.source") == "facesim":  # a swap needs another person's face
            at_least(config, f"{path}.identities.{split}", 2)
            at_least(config, f"{path}.identities.train", 2)


def check_network(config: ConfigDict) -> Any:
    """Checks that the detector fits its data and the terms of the loss, from shapes alone. The config passed ``check``.

    Returns:
      The shapes of the detector's variables.

    Raises:
      UserError: a term lacks a head or a target, or the detector takes other rows or has another number of classes.
    """
    name, frames = config.detector.name, config.data.frames
    if (find_detector(name).unit == "clip") != bool(frames):
        wanted = "0, for it takes faces" if frames else "the number of frames of a clip, for it takes clips"
        raise UserError(f"data.frames: found {frames} with detector.name {name!r}, wanted {wanted}")
    detector = make_detector(name, config.detector.overrides.to_dict())
    image = jax.ShapeDtypeStruct(_one_row(config), jnp.float32)
    variables = jax.eval_shape(detector.init, jax.random.key(0), image)
    outputs = jax.eval_shape(detector.apply, variables, image)
    names, classes = make_objective(config, 1).names, outputs.logits.shape[-1]
    require(names, outputs, TARGETS)
    by = {"kind": len(KINDS), "method": 1 + len(weights_of(config.forgery))}
    for term in names:
        wanted = by.get(find_term(term).classes, classes)
        if classes != wanted:
            raise UserError(
                f"losses.{term}: found a detector with {classes} classes, wanted {wanted}, "
                f"since losses.{term}.weight > 0"
            )
    return variables


def _one_row(config: ConfigDict) -> tuple[int, ...]:
    size, frames = config.data.size, config.data.frames
    return (1, frames, size, size, 3) if frames else (1, size, size, 3)


class DetectorTask:
    """Any registered detector, trained on real faces against a mix of forgeries."""

    title = "Detector"

    def __init__(self, config: ConfigDict):
        self.config = config
        axis = parallel.AXIS if config.detector.sync_batch_stats else None
        dtype = jnp.dtype(config.detector.dtype)
        self.detector = make_detector(config.detector.name, config.detector.overrides.to_dict(), axis, dtype)
        self.frames = config.data.frames
        context = needs_context(config.forgery)
        self.source = make_source(config.data, "train", context=context, frames=self.frames)
        self.recipe = self.source.recipe
        self.mix = make_mix(config.forgery, config.data, "train", self.recipe, True)
        self.held_out = HeldOut(config, self._detect, self.mix)
        self.frozen = self.mix.frozen
        self.steps_per_epoch = max(1, len(self.source) // config.batch_size)
        self.objective = make_objective(config, self.steps_per_epoch)
        # The learning rate multiplies the updates of an optimiser of rate 1: each phase has its own optimiser state,
        # and a schedule inside would count only the steps of its own phase.
        own = config.optimizer
        rate = constant_then_linear(own.learning_rate, config.steps, own.decay_after, own.warmup)
        self.rate = staircase(rate, **own.staircase)
        self.optimizer = make_optimizer(config.optimizer, 1.0)
        shapes = check_network(config)
        self.held = self.objective.frozen(shapes)
        self.start = start_from(config.detector.weights, shapes) if config.detector.weights else {}

    def init(self, seed: jax.Array, start: dict[str, Any]) -> TrainState:
        """start: parameters and statistics by their path, in place of drawn ones."""
        key = jax.random.key(seed)
        image = jnp.zeros(_one_row(self.config))
        variables = self.detector.init(purpose(key, "weights"), image)
        if start:
            variables = unflatten_dict(flatten_dict(dict(variables), sep="/") | start, sep="/")
        # One optimiser state per phase, stacked; the phase selects its own.
        state = self.optimizer.init(variables["params"])
        opt_state = jax.tree.map(lambda x: jnp.stack([x] * self.objective.phases), state)
        extra = {"average": jax.tree.map(jnp.copy, dict(variables))} if self.config.optimizer.average else {}
        return TrainState(jnp.zeros((), jnp.int32), dict(variables), opt_state, purpose(key, "training"), extra)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets that the terms of the loss read."""
        return self.objective.targets

    def batches(self, devices: parallel.Devices) -> pipeline.Batches:
        augment = Augment(**self.config.augment.to_dict())
        share = self.config.batch_size // parallel.processes()
        slots = self.mix.slots(self.config.batch_size // devices.mesh.size)
        return pipeline.train_batches(
            self.source,
            share,
            self.config.seed,
            slots,
            augment,
            tuple(name for name in self.targets if name not in MADE),
            self.config.data.workers,
            max_unusable=self.config.data.max_unusable,
        )

    def step(self, state: TrainState, batch: dict, frozen: Any) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(state.rng, state.step)
        every = self.config.log_every
        logged = True if every == 1 else ((state.step + 1) % every == 0) | (state.step + 1 == self.config.steps)

        def scene(images: jax.Array, own: Any) -> Scene:
            return Scene(self._classifier(state.variables), images, own, state.step, logged)

        keys = parallel.row_keys(purpose(key, "forge"), batch["image"].shape[0])
        reals, fakes, targets, metrics = self.mix.forge(keys, batch, scene, frozen, self.targets)
        pairs = pair_up(reals, jax.lax.stop_gradient(fakes), targets)
        state, found = self._update(state, pairs, key)
        return state, metrics | found

    def _update(self, state: TrainState, rows: Batch, key: jax.Array) -> tuple[TrainState, dict]:
        phase = self.objective.phase(state.step)
        params = state.variables["params"]
        rest = {name: value for name, value in state.variables.items() if name != "params"}
        second_pass = self.config.optimizer.sam.batch_stats == "both"
        held = self.held["params"] if self.held else None
        nothing = jax.tree.map(jnp.zeros_like, params)
        told = {"label": rows.label} if find_detector(self.config.detector.name).labelled else {}

        def loss(params, rest, rng):
            rng = jax.random.fold_in(rng, jax.lax.axis_index(parallel.AXIS))
            how = {"train": True, "rngs": {"dropout": rng}, "mutable": list(rest), **told}
            outputs, changed = self.detector.apply({"params": params, **rest}, rows.image, **how)
            value, terms = self.objective(outputs, rows, phase)
            return value, (terms, changed, outputs)

        def gradient_at(params, rest, name):
            rng = purpose(key, name)
            (value, (terms, changed, outputs)), gradient = jax.value_and_grad(loss, has_aux=True)(params, rest, rng)
            gradient = hold(held, phase, parallel.mean(gradient), nothing)
            return value, terms, self._kept_stats(phase, parallel.mean(changed), rest), outputs, gradient

        value, terms, rest, outputs, gradient = gradient_at(params, rest, "dropout of the first pass")
        latest = [rest]

        def at(perturbed: Any) -> Any:
            _, _, changed, _, gradient = gradient_at(perturbed, rest, "dropout of the second pass")
            if second_pass:
                latest.append(changed)
            return gradient

        own = jax.tree.map(lambda x: x[phase], state.opt_state)
        updates, own = self.optimizer.update(gradient, own, params, grad_fn=at)
        updates = jax.tree.map(lambda x: x * jnp.asarray(self.rate(state.step), x.dtype), updates)
        updates = hold(held, phase, updates, nothing)
        opt_state = jax.tree.map(lambda all_, x: all_.at[phase].set(x), state.opt_state, own)
        variables = {"params": optax.apply_updates(params, updates), **latest[-1]}
        metrics = {f"loss/{name}": term for name, term in terms.items()}
        right = ((margin(outputs.logits) > 0) == (rows.label == FAKE)).astype(jnp.float32)
        metrics |= {"loss/total": value, "accuracy": jnp.mean(right), "learning_rate": self.rate(state.step)}
        extra = state.extra
        if decay := self.config.optimizer.average:
            extra = {"average": averaged(extra["average"], variables, decay, state.step)}
        return TrainState(state.step + 1, variables, opt_state, state.rng, extra), metrics

    def _kept_stats(self, phase: jax.Array, new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
        """Batch statistics; those of norms that this phase does not train stay as they were."""
        return {name: hold(self.held and self.held[name], phase, new[name], old[name]) for name in old}

    def _detect(self, variables: Any):
        return lambda images: self.detector.apply(variables, images, train=False)

    def _classifier(self, variables: Any):
        return lambda images: self._detect(variables)(images).logits

    def evaluate(self, state, devices, show) -> EvaluationResult:
        """See ``HeldOut``; its figures also hold the detector's size, and its speed with ``evaluation.speed``."""
        variables = _final(state)
        found = self.held_out.evaluate(variables, devices, show)
        figures = found.figures | size_of(variables)
        if self.config.evaluation.speed:
            share = self.config.evaluation.batch_size // parallel.processes()
            figures |= speed_of(self._detect, variables, devices, (share, *_one_row(self.config)[1:]))
        return dataclasses.replace(found, figures=figures)

    def export(self, state: TrainState, folder: Path, result: EvaluationResult) -> None:
        description = {"name": self.config.detector.name, "overrides": self.config.detector.overrides.to_dict()}
        gallery_png(result.gallery.columns, folder / "fakes.png")
        notes = {"recipe": json.dumps(self.recipe and self.recipe.to_dict()), "size": str(self.source.size)}
        if self.frames:
            notes["frames"] = str(self.frames)
        if (classes := classes_of(self.config)) is not None:
            notes["classes"] = json.dumps(classes)
        if result.classes and result.classes["limit"] is not None:
            notes[LEAD] = json.dumps(result.classes["limit"])
        if result.calibration is not None:
            notes[CALIBRATION] = result.calibration.to_json()
        weights.save(
            folder / "detector.safetensors",
            "detector",
            description,
            _final(state),
            source=self.source.fingerprint,
            description=self.config.description,
            **notes,
        )
        if result.embeddings:
            weights.save(folder / EMBEDDINGS, "embeddings", description, result.embeddings, np.float16)


def _final(state: TrainState) -> Any:
    """The variables that are tested and exported: their average, where there is one."""
    return state.extra.get("average", state.variables)


def pair_up(images: jax.Array, fakes: jax.Array, targets: Mapping[str, jax.Array]) -> Batch:
    """Real faces (B, …) and one fake of each -> 2B labelled rows, reals first.

    targets: of the fakes, (B, …); a real face has the value ``TARGETS`` defines, or its fake's.
    """
    count = images.shape[0]

    def both(name: str, values: jax.Array) -> jax.Array:
        real = TARGETS[name].real
        if name == "pair":
            return jnp.concatenate([jnp.arange(count, dtype=values.dtype), values])
        return jnp.concatenate([values if real is None else jnp.full_like(values, real), values])

    return Batch(
        image=jnp.concatenate([images, fakes]),
        label=jnp.repeat(jnp.array([REAL, FAKE], jnp.int32), count),
        weight=jnp.ones(2 * count),
        targets={name: both(name, values) for name, values in targets.items()},
    )
