"""The detector trainer, Algorithm 1: forge fakes against the detector as it is, then one SAM step on real and fake.

Fakes are drawn once per step, in eval mode, outside the gradient; host forgeries arrive with the batch instead.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from fdetect_jax import weights
from fdetect_jax.data import pipeline
from fdetect_jax.data.augment import Augment
from fdetect_jax.data.sources import make_source
from fdetect_jax.detectors import make_detector
from fdetect_jax.errors import UserError
from fdetect_jax.forgery import FORGERIES, Forged, make_forgery
from fdetect_jax.forgery.host import make_host_forgery, wants_context
from fdetect_jax.losses.objective import make_objective
from fdetect_jax.losses.terms import TERMS
from fdetect_jax.nn.once import jit_once
from fdetect_jax.optim.base import make_optimizer
from fdetect_jax.optim.schedules import constant_then_linear
from fdetect_jax.report.gallery import gallery_png
from fdetect_jax.train import parallel
from fdetect_jax.train.held_out import HeldOut
from fdetect_jax.train.task import EvaluationResult
from fdetect_jax.types import FAKE, REAL, Batch, TrainState, score, to_unit

EMBEDDINGS = "embeddings.safetensors"  # of held-out faces, (N, D) by the kind of face


class DetectorTask:
    """Any registered detector on real faces against one forgery."""

    title = "Detector"

    def __init__(self, config: ConfigDict):
        self.config = config
        axis = parallel.AXIS if config.detector.sync_batch_stats else None
        dtype = jnp.dtype(config.detector.dtype)
        self.detector = make_detector(config.detector.name, config.detector.overrides.to_dict(), axis, dtype)
        self.forgery = make_forgery(config.forgery) if config.forgery.kind in FORGERIES else None
        self.source = make_source(config.data, "train", context=wants_context(config.forgery))
        self.recipe, self.held_out = self.source.recipe, HeldOut(config, self._judge)
        self.frozen = {"forgery": self.forgery.frozen if self.forgery else {}}
        self.steps_per_epoch = max(1, len(self.source) // config.batch_size)
        self.objective = make_objective(config, self.steps_per_epoch)
        # The rate multiplies the updates of a unit step: objectives that take turns keep a state each, and a schedule
        # inside would count each one's turns for steps.
        self.rate = constant_then_linear(config.optimizer.learning_rate, config.steps, config.optimizer.decay_after)
        self.optimizer = make_optimizer(config.optimizer)

    def init(self, seed: int) -> TrainState:
        key, rng = jax.random.split(jax.random.key(seed))
        image = jnp.zeros((1, self.source.size, self.source.size, 3))
        variables = jit_once(self.detector.init)(key, image)
        if self.config.detector.weights:
            variables = started_from(variables, self.config.detector.weights)
        # One optimiser state per objective, stacked: the turn picks its own.
        state = self.optimizer.init(variables["params"])
        opt_state = jax.tree.map(lambda x: jnp.stack([x] * self.objective.turns), state)
        return TrainState(jnp.zeros((), jnp.int32), dict(variables), opt_state, rng, {})

    def batches(self):
        augment = Augment(**self.config.augment.to_dict())
        share = self.config.batch_size // jax.process_count()
        forgery = make_host_forgery(self.config.forgery, self.config.data, "train", self.recipe, True)
        masks = ("face",) if any(TERMS[name].face for name in self.objective.names) else ()
        workers = self.config.data.workers
        return pipeline.train_batches(self.source, share, self.config.seed, forgery, augment, masks, workers)

    def step(self, state: TrainState, batch: dict, frozen: Any) -> tuple[TrainState, dict]:
        images = to_unit(batch["image"])
        key = jax.random.fold_in(state.rng, state.step)
        k_forge, k_first, k_second = jax.random.split(key, 3)
        fakes, metrics = self._fakes(k_forge, state, batch, frozen["forgery"])
        rows = pair_up(images, fakes, batch["identity"], batch.get("face"))
        state, found = self._update(state, rows, k_first, k_second)
        return state, metrics | found

    def _fakes(self, rng: jax.Array, state: TrainState, batch: dict, frozen: Any) -> tuple[jax.Array, dict]:
        """A fake of each face (B, S, S, 3), and the attack's metrics."""
        if self.forgery is None:
            return to_unit(batch["forged"]), {}
        own = slice(1, None, 2) if "forged" in batch else slice(None)  # the others' fakes were made on the host
        images = to_unit(batch["image"])
        keys = parallel.row_keys(rng, images.shape[0])[own]
        forged = self.forgery.forge(keys, self._classifier(state.variables), images[own], frozen)
        # A detector that knows nothing learns nothing from fakes made against it: they take over one by one.
        odds = (state.step + 1) / max(1, self.config.forgery.warmup)
        attacked = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1)))(keys) < odds
        fakes = jnp.where(attacked[:, None, None, None], forged.image, forged.reconstruction)
        if "forged" in batch:
            fakes = to_unit(batch["forged"]).at[own].set(fakes)
        return fakes, self._attack_metrics(state.variables, forged)

    def _update(
        self, state: TrainState, rows: Batch, k_first: jax.Array, k_second: jax.Array
    ) -> tuple[TrainState, dict]:
        turn = self.objective.turn(state.step)
        params = state.variables["params"]
        rest = {name: value for name, value in state.variables.items() if name != "params"}
        second_pass = self.config.optimizer.sam.batch_stats == "both"

        def loss(params, rest, rng):
            rng = jax.random.fold_in(rng, jax.lax.axis_index(parallel.AXIS))
            outputs, changed = self.detector.apply(
                {"params": params, **rest}, rows.image, train=True, rngs={"dropout": rng}, mutable=list(rest)
            )
            value, terms = self.objective(outputs, rows, turn)
            return value, (terms, changed, outputs)

        (value, (terms, rest, outputs)), gradient = jax.value_and_grad(loss, has_aux=True)(params, rest, k_first)
        gradient, rest = parallel.mean(gradient), parallel.mean(rest)
        latest = [rest]

        def at(perturbed: Any) -> Any:
            (_, (_, changed, _)), gradient = jax.value_and_grad(loss, has_aux=True)(perturbed, rest, k_second)
            if second_pass:
                latest.append(parallel.mean(changed))
            return parallel.mean(gradient)

        own = jax.tree.map(lambda x: x[turn], state.opt_state)
        updates, own = self.optimizer.update(gradient, own, params, grad_fn=at)
        updates = jax.tree.map(lambda x: x * jnp.asarray(self.rate(state.step), x.dtype), updates)
        opt_state = jax.tree.map(lambda all_, x: all_.at[turn].set(x), state.opt_state, own)
        variables = {"params": optax.apply_updates(params, updates), **latest[-1]}
        metrics = {f"loss/{name}": term for name, term in terms.items()}
        right = (jnp.argmax(outputs.logits, axis=-1) == rows.label).astype(jnp.float32)
        metrics |= {"loss/total": value, "accuracy": jnp.mean(right), "learning_rate": self.rate(state.step)}
        return TrainState(state.step + 1, variables, opt_state, state.rng, state.extra), metrics

    def _judge(self, variables: Any):
        return lambda images: self.detector.apply(variables, images, train=False)

    def _classifier(self, variables: Any):
        return lambda images: self._judge(variables)(images).logits

    def _attack_metrics(self, variables: Any, forged: Forged) -> dict[str, jax.Array]:
        classify = self._classifier(variables)
        both = score(classify(jnp.concatenate([forged.reconstruction, forged.image])))
        before, after = jnp.split(both, 2)
        return {
            "p_fake/reconstruction": jnp.mean(before),
            "p_fake/adversary": jnp.mean(after),
            "delta_norm": jnp.mean(forged.radius),
            "on_sphere": jnp.mean(forged.on_surface),
        }

    def evaluate(self, state, compile_eval, show) -> EvaluationResult:
        """See ``HeldOut``."""
        return self.held_out.evaluate(state.variables, compile_eval, show)

    def export(self, state: TrainState, folder: Path, result: EvaluationResult) -> None:
        description = {"name": self.config.detector.name, "overrides": self.config.detector.overrides.to_dict()}
        name = "adversaries.png" if self.forgery else "fakes.png"
        gallery_png(result.gallery.columns, folder / name)
        recipe = json.dumps(self.recipe and self.recipe.to_dict())
        weights.save(
            folder / "detector.safetensors",
            "detector",
            description,
            state.variables,
            recipe=recipe,
            size=str(self.source.size),
            source=self.source.fingerprint,
            description=self.config.description,
            **result.notes,
        )
        if result.embeddings:
            weights.save(folder / EMBEDDINGS, "embeddings", description, result.embeddings, np.float16)


def started_from(variables: Any, path: str) -> Any:
    """``variables`` with the arrays of a weights file in their place; a classifier of another size starts afresh.

    Raises:
      ValueError: the file cannot be read, or holds another network.
    """
    found = flatten_dict(weights.read(path)[1], sep="/")
    own = flatten_dict(dict(variables), sep="/")
    differing = {name for name in own.keys() | found.keys() if np.shape(own.get(name)) != np.shape(found.get(name))}
    if others := sorted(name for name in differing if not name.startswith("params/fc/")):
        raise UserError(f"detector.weights: found {path} with other arrays ({', '.join(others[:3])}, …)")
    return unflatten_dict({name: own[name] if name in differing else found[name] for name in own}, sep="/")


def pair_up(images: jax.Array, fakes: jax.Array, identity: jax.Array, face: jax.Array | None = None) -> Batch:
    """Real faces (B, …) and the fake of each -> 2B labelled rows, reals first; ``pair`` ties a face to its fake, and
    ``face`` (B, H, W) is the same in both."""
    count = images.shape[0]
    return Batch(
        image=jnp.concatenate([images, fakes]),
        label=jnp.repeat(jnp.array([REAL, FAKE], jnp.int32), count),
        identity=jnp.tile(identity, 2),
        weight=jnp.ones(2 * count),
        pair=jnp.tile(jnp.arange(count, dtype=jnp.int32), 2),
        face=None if face is None else jnp.tile(to_unit(face), (2, 1, 1)),
    )
