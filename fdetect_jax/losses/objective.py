"""How terms make a loss: Eq. 5's λ-weighted sum (joint), or classifier and metric taking turns (alternating)."""

import dataclasses

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fdetect_jax.errors import UserError
from fdetect_jax.losses.terms import OBJECTIVES, TERMS, Term, make_term
from fdetect_jax.types import Batch, Outputs

MODES = ("joint", "alternating")
TURNS = ("step", "epoch")


@dataclasses.dataclass(frozen=True)
class Objective:
    """The composed loss. ``table[turn][i]`` is the weight of ``terms[i]``; one optimiser state per turn."""

    names: tuple[str, ...]
    terms: tuple[Term, ...]
    table: tuple[tuple[float, ...], ...]
    period: int

    @property
    def turns(self) -> int:
        return len(self.table)

    def turn(self, step: jax.Array) -> jax.Array:
        """Whose turn it is at ``step``."""
        return (step // self.period) % self.turns

    def __call__(self, outputs: Outputs, batch: Batch, turn: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of this turn, and every term's mean over the rows that count."""
        rows = jnp.maximum(jnp.sum(batch.weight), 1.0)
        values = [jnp.sum(term(outputs, batch) * batch.weight) / rows for term in self.terms]
        weights = jnp.asarray(self.table)[turn]
        loss = sum(weight * value for weight, value in zip(weights, values, strict=True))
        return loss, dict(zip(self.names, values, strict=True))


def make_objective(config: ConfigDict, steps_per_epoch: int) -> Objective:
    """From ``config.losses`` (name -> weight and options) and ``config.objective`` (lam, mode, turn).

    Joint: λ · Σ classifier terms + (1 − λ) · Σ metric terms (Eq. 5). Alternating: the two sums take turns, per step or
    per epoch, the classifier first. Terms without weight are left out.
    """
    lam, mode = config.objective.lam, config.objective.mode
    shares = {"classifier": lam, "metric": 1.0 - lam} if mode == "joint" else dict.fromkeys(OBJECTIVES, 1.0)
    names, terms, weights = [], [], []
    for name, options in config.losses.to_dict().items():
        weight = options.pop("weight") * shares[TERMS[name].objective]
        if weight:
            names.append(name)
            terms.append(make_term(name, options))
            weights.append(weight)
    if mode == "joint":
        return Objective(tuple(names), tuple(terms), (tuple(weights),), 1)
    rows = [
        tuple(w if TERMS[name].objective == objective else 0.0 for name, w in zip(names, weights, strict=True))
        for objective in OBJECTIVES
    ]
    period = 1 if config.objective.turn == "step" else steps_per_epoch
    if period >= config.steps:
        raise UserError(
            f"objective.turn: found 'epoch', {steps_per_epoch} steps of the {config.steps}, so that the metric's turn "
            "never comes; wanted 'step', or steps beyond an epoch"
        )
    return Objective(tuple(names), tuple(terms), tuple(rows), period)
