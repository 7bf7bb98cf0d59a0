"""Combines terms into a loss, and selects the parameters that each phase trains.

Joint: Eq. 5's λ-weighted sum. Alternating: classifier and metric terms take turns. Staged: phases one after another,
each with its own terms and trainable parameters.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import path_aware_map

from fdetect_jax.errors import UserError
from fdetect_jax.fields import between
from fdetect_jax.losses.terms import OBJECTIVES, find_term
from fdetect_jax.types import Batch, Outputs

MODES = ("joint", "alternating", "staged")
TURNS = ("step", "epoch")
ALL = ("*",)


@dataclasses.dataclass(frozen=True)
class Objective:
    """The combined loss.

    ``table[phase][i]`` is the weight of ``terms[i]``, and ``trainable[phase]`` the patterns of the parameters that a
    phase trains; each phase has its own optimiser state. ``starts``: the step at which each phase begins; empty if the
    phases take turns of ``period`` steps.
    """

    names: tuple[str, ...]
    terms: tuple[Callable[[Outputs, Batch], jax.Array], ...]
    table: tuple[tuple[float, ...], ...]
    trainable: tuple[tuple[str, ...], ...]
    period: int = 1
    starts: tuple[int, ...] = ()

    @property
    def phases(self) -> int:
        return len(self.table)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets that the terms read."""
        return tuple(dict.fromkeys(target for name in self.names for target in find_term(name).targets))

    def phase(self, step: jax.Array) -> jax.Array:
        """The phase of ``step``."""
        if self.starts:
            return jnp.sum(step >= jnp.asarray(self.starts)) - 1
        return (step // self.period) % self.phases

    def __call__(self, outputs: Outputs, batch: Batch, phase: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of this phase, and every term's mean over the rows of non-zero weight."""
        rows = jnp.maximum(jnp.sum(batch.weight), 1.0)
        values = [jnp.sum(term(outputs, batch) * batch.weight) / rows for term in self.terms]
        weights = jnp.asarray(self.table)[phase]
        loss = sum(weight * value for weight, value in zip(weights, values, strict=True))
        return loss, dict(zip(self.names, values, strict=True))

    def frozen(self, variables: Mapping[str, Any]) -> Any | None:
        """The arrays each phase leaves unchanged: like ``variables``, (phases,) bool; None if all are always trained.

        Statistics of a BatchNorm follow the pattern of their own path, as its scale and bias do.

        Raises:
          UserError: a pattern matches no parameter.
        """
        if all(patterns == ALL for patterns in self.trainable):
            return None
        paths = ["/".join(path) for path in _paths(variables["params"])]
        for pattern in dict.fromkeys(pattern for patterns in self.trainable for pattern in patterns):
            if not any(fnmatchcase(path, pattern) for path in paths):
                raise UserError(
                    f"objective.trainable: found {pattern!r}, which matches no parameter; wanted a pattern over paths "
                    f"such as {paths[0]!r} and {paths[-1]!r}"
                )

        def held(path: Sequence[str], _: Any) -> np.ndarray:
            name = "/".join(path)
            return np.array([not any(fnmatchcase(name, one) for one in patterns) for patterns in self.trainable])

        return {collection: path_aware_map(held, dict(tree)) for collection, tree in variables.items()}


def hold(frozen: Any | None, phase: jax.Array, new: Any, old: Any) -> Any:
    """``new``, with the arrays that this phase does not train taken from ``old``. frozen: of ``Objective.frozen``."""
    if frozen is None:
        return new

    def kept(held: np.ndarray, a: jax.Array, b: jax.Array) -> jax.Array:
        if held.all() or not held.any():  # the same in every phase: no unused computation
            return b if held.all() else a
        return jnp.where(jnp.asarray(held)[phase], b, a)

    return jax.tree.map(kept, frozen, new, old)


def make_objective(config: Any, steps_per_epoch: int) -> Objective:
    """Builds the objective of ``config.losses`` (name -> weight and options) and ``config.objective``.

    Joint: λ · Σ classifier terms + (1 − λ) · Σ metric terms (Eq. 5). Alternating: the two sums take turns, per step or
    per epoch, the classifier first. Staged: ``objective.stages``, a sequence of {share, terms, trainable}: share of the
    steps, names of its terms (with their weights; () for all), and patterns over the paths of its parameters.
    ``objective.trainable`` holds the patterns of the other two modes. Terms of weight 0 are left out.

    Raises:
      UserError: names the field of ``objective`` or ``losses``.
    """
    options = config.objective
    losses = {name: dict(one) for name, one in config.losses.to_dict().items()}
    weighed = {name: one for name, one in losses.items() if one["weight"]}
    trainable = _patterns(options.trainable, "objective.trainable")
    shares = {"classifier": options.lam, "metric": 1.0 - options.lam}
    if options.mode == "joint":
        weighed = {name: one for name, one in weighed.items() if shares[find_term(name).objective]}
    names = tuple(weighed)
    terms = tuple(
        partial(find_term(name).function, **{key: value for key, value in one.items() if key != "weight"})
        for name, one in weighed.items()
    )
    weights = [one["weight"] for one in weighed.values()]
    kinds = [find_term(name).objective for name in names]
    if options.mode == "joint":
        row = tuple(weight * shares[kind] for weight, kind in zip(weights, kinds, strict=True))
        _needs(kinds, ["classifier"] if options.lam > 0 else ["metric"], losses)
        return Objective(names, terms, (row,), (trainable,))
    if options.mode == "alternating":
        _needs(kinds, OBJECTIVES, losses)
        rows = tuple(
            tuple(weight if kind == objective else 0.0 for weight, kind in zip(weights, kinds, strict=True))
            for objective in OBJECTIVES
        )
        period = 1 if options.turn == "step" else steps_per_epoch
        if period >= config.steps:
            raise UserError(
                f"objective.turn: found 'epoch', {steps_per_epoch} steps of the {config.steps}, so that the metric's "
                "turn never comes; wanted 'step', or more steps than an epoch"
            )
        return Objective(names, terms, rows, (trainable,) * 2, period)
    return _staged(options, names, terms, weights, config.steps)


def _staged(options: Any, names: tuple[str, ...], terms: tuple, weights: list[float], steps: int) -> Objective:
    stages = [dict(stage) for stage in options.stages]
    if not stages:
        raise UserError("objective.stages: found none, wanted at least one: {share, terms, trainable}")
    rows, patterns, starts, begun = [], [], [], 0.0
    for number, stage in enumerate(stages):
        field = f"objective.stages[{number}]"
        if set(stage) != {"share", "terms", "trainable"}:
            raise UserError(f"{field}: found the fields {sorted(stage)}, wanted share, terms and trainable")
        if not 0 < stage["share"] <= 1:
            raise UserError(f"{field}.share: found {stage['share']!r}, wanted a share of the steps in (0, 1]")
        chosen = tuple(stage["terms"]) or names
        if strange := [name for name in chosen if name not in names]:
            raise UserError(f"{field}.terms: found {strange}, wanted terms with weight among {list(names)}")
        rows.append(tuple(w if name in chosen else 0.0 for name, w in zip(names, weights, strict=True)))
        patterns.append(_patterns(stage["trainable"], f"{field}.trainable"))
        starts.append(round(begun * steps))
        begun += stage["share"]
    if abs(begun - 1) > 1e-6:
        raise UserError(f"objective.stages: found shares that sum to {begun:g}, wanted 1")
    if len(set(starts)) < len(starts) or starts[-1] >= steps:
        raise UserError(f"objective.stages: found stages that begin at the steps {starts} of {steps}, wanted one each")
    return Objective(names, terms, tuple(rows), tuple(patterns), starts=tuple(starts))


def check_objective(options: Any) -> None:
    """Raises UserError for a field of ``config.objective`` that is out of range."""
    if options.mode not in MODES:
        raise UserError(f"objective.mode: found {options.mode!r}, wanted one of {sorted(MODES)}")
    if options.turn not in TURNS:
        raise UserError(f"objective.turn: found {options.turn!r}, wanted one of {sorted(TURNS)}")
    between(options, "lam", 0, 1, "objective")
    if options.mode != "joint" and options.lam != 1.0:
        raise UserError(
            f"objective.lam: found {options.lam!r}, wanted 1.0: it weights joint objectives, and mode "
            f"{options.mode!r} does not use it"
        )
    if options.mode != "staged" and options.stages:
        raise UserError(f"objective.stages: found {len(options.stages)}, wanted none with mode {options.mode!r}")


def _needs(kinds: Sequence[str], wanted: Sequence[str], losses: Mapping[str, Any]) -> None:
    if not set(wanted) <= set(kinds):
        raise UserError(
            f"losses: found {sorted(losses)}, wanted a term with weight for each objective of {sorted(wanted)}"
        )


def _patterns(found: Any, field: str) -> tuple[str, ...]:
    patterns = tuple(found)
    if not patterns or not all(isinstance(one, str) and one for one in patterns):
        raise UserError(f"{field}: found {found!r}, wanted patterns over parameter paths, ('*',) for all")
    return patterns


def _paths(tree: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, value in tree.items():
        found += _paths(value, (*prefix, name)) if isinstance(value, Mapping) else [(*prefix, name)]
    return found
