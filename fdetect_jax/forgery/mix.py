"""Combines several forgeries in one run by weights: assigns each row's fake to one of them and joins the results.

The assignment is static: row i of a device's share is always forged by the same forgery, so that one compilation
serves all steps, and host and device forgeries share a batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax.data.rows import TARGET, Slot
from fdetect_jax.data.targets import MADE, TARGETS
from fdetect_jax.errors import UserError
from fdetect_jax.forgery.base import DeviceForgery, Forged, Forgery, Scene
from fdetect_jax.types import HostForgery, to_unit


def deal(weights: Mapping[str, float], rows: int) -> tuple[str, ...]:
    """The forgery of each of ``rows`` rows: shares as near the weights as possible, at least one each, spread evenly.

    Raises:
      UserError: fewer rows than forgeries.
    """
    if rows < len(weights):
        raise UserError(
            f"batch_size: found {rows} rows on each device for a mix of {len(weights)} forgeries, wanted one for each"
        )
    total = sum(weights.values())
    exact = {name: rows * weight / total for name, weight in weights.items()}
    counts = {name: max(1, int(share)) for name, share in exact.items()}
    while (missing := rows - sum(counts.values())) > 0:
        counts[max(counts, key=lambda name: exact[name] - counts[name])] += 1
    while missing < 0:
        counts[min((n for n in counts if counts[n] > 1), key=lambda name: exact[name] - counts[name])] -= 1
        missing += 1
    places = sorted(
        ((rank + 0.5) / count, order, name)
        for order, (name, count) in enumerate(counts.items())
        for rank in range(count)
    )
    return tuple(name for _, _, name in places)


@dataclass(frozen=True)
class Mix:
    """The forgeries of a run.

    weights: name -> share of the fakes, above 0. specs: their registry entries. made: the forgeries themselves.
    The names are those of the config; several of them may stand for one registered forgery.
    """

    weights: dict[str, float]
    specs: dict[str, Forgery]
    made: dict[str, HostForgery | DeviceForgery]

    @property
    def device(self) -> dict[str, DeviceForgery]:
        """The device forgeries."""
        return {name: one for name, one in self.made.items() if self.specs[name].place == "device"}

    @property
    def context(self) -> bool:
        """Whether any of them takes context crops."""
        return any(spec.crop == "context" for spec in self.specs.values())

    @cached_property
    def frozen(self) -> dict[str, Any]:
        """Variables of the device forgeries' networks, by forgery."""
        return {name: one.frozen for name, one in self.device.items()}

    def method(self, name: str) -> int:
        """The class of a forgery's fakes among all methods: 1 + its position in the mix."""
        return 1 + list(self.weights).index(name)

    def slot(self, name: str) -> Slot:
        """How the host makes a row of this forgery."""
        spec = self.specs[name]
        forge = None if spec.place == "device" else self.made[name]
        return Slot(forge, spec.crop == "context", spec.kind_number, self.method(name))

    def slots(self, rows: int) -> tuple[Slot, ...]:
        """The slot of each row of a device's share."""
        return tuple(self.slot(name) for name in deal(self.weights, rows))

    def forge(
        self,
        keys: jax.Array,
        batch: Mapping[str, jax.Array],
        scene: Callable[[jax.Array, Any], Scene],
        frozen: Mapping[str, Any],
        wanted: tuple[str, ...],
    ) -> tuple[jax.Array, jax.Array, dict[str, jax.Array], dict[str, jax.Array]]:
        """The fakes of a device's rows: those in the batch, and those made here on the device.

        Args:
          keys: (B,) one per row. batch: this device's share, with ``image``, ``forged`` and ``target/NAME``.
          scene: (images, frozen) -> Scene. frozen: of ``self.frozen``, placed. wanted: names of targets.

        Returns:
          The real faces and their fakes like ``batch["image"]``, in [0, 1]; the fakes' values of every wanted target,
          (B, …); metrics: one that an earlier forgery of the mix gives too has the forgery's name behind its own.
        """
        images = to_unit(batch["image"])
        dealt = deal(self.weights, images.shape[0])
        host = [row for row, name in enumerate(dealt) if name not in self.device]
        reals, rows, parts, metrics = images, [np.array(host, int)], [], {}
        targets: dict[str, list[jax.Array]] = {name: [] for name in wanted if name not in MADE}
        shared = [name for name in targets if TARGETS[name].real is None]
        if host:
            parts.append(to_unit(batch["forged"]))
            for name in targets:
                own = batch[TARGET + name]
                targets[name].append(own[rows[0]] if name in shared else own)
        for name, forgery in self.device.items():
            own = np.array([row for row, dealt_to in enumerate(dealt) if dealt_to == name])
            forged = forge_rows(forgery, keys[own], scene(images[own], frozen[name]))
            rows.append(own)
            parts.append(forged.image)
            if forged.real is not None:
                reals = reals.at[own].set(forged.real)
            metrics |= {f"{key}/{name}" if key in metrics else key: value for key, value in forged.metrics.items()}
            for target, values in targets.items():
                if target in shared:
                    values.append(batch[TARGET + target][own])
                else:
                    values.append(self._target(target, name, forged, images[own]))
        # Restores the order of the rows.
        order = np.argsort(np.concatenate([one for one in rows if len(one)]))
        joined = {
            name: jnp.concatenate([_unit(name, one) for one in values])[order] for name, values in targets.items()
        }
        if "pair" in wanted:
            joined["pair"] = jnp.asarray(self._pairs(dealt))
        return reals, jnp.concatenate(parts)[order], joined, metrics

    def _pairs(self, dealt: tuple[str, ...]) -> np.ndarray:
        """The row number of the face behind each fake, -1 if the fake is no counterpart of it."""
        alone = {name for name, one in self.device.items() if not one.counterpart}
        return np.array([-1 if name in alone else row for row, name in enumerate(dealt)], np.int32)

    def _target(self, target: str, name: str, forged: Forged, images: jax.Array) -> jax.Array:
        """The value of a target for the fakes of a device forgery, (B, …)."""
        spec = TARGETS[target]
        if target in forged.targets:
            return forged.targets[target]
        value = {"kind": self.specs[name].kind_number, "method": self.method(name)}.get(target, spec.fake)
        if value is None:
            raise UserError(f"losses: found no target {target!r} of the forgery {name!r}, wanted one that provides it")
        shape = images.shape[:-1] if spec.map else images.shape[:1]
        return jnp.full(shape, value, spec.dtype)


def _unit(name: str, values: jax.Array) -> jax.Array:
    return to_unit(values) if TARGETS[name].map else values


def forge_rows(forgery: DeviceForgery, keys: jax.Array, scene: Scene) -> Forged:
    """Applies a device forgery to faces, or to clips (B, T, …) as B x T faces; all frames of a clip share one key."""
    shape = scene.images.shape
    if len(shape) == 4:
        return forgery.forge(keys, scene)
    frames = shape[1]
    flat = scene.images.reshape(-1, *shape[2:])

    def classify(images: jax.Array) -> jax.Array:
        return jnp.repeat(scene.classify(images.reshape(-1, *shape[1:])), frames, axis=0)

    own = Scene(classify, flat, scene.frozen, scene.step, scene.logged, scene.stages)
    forged = forgery.forge(jnp.repeat(keys, frames), own)
    back = lambda x: x.reshape(shape[0], frames, *x.shape[1:])  # noqa: E731
    targets = {name: back(x) if TARGETS[name].map else x[::frames] for name, x in forged.targets.items()}
    real, stages = jax.tree.map(back, (forged.real, forged.stages))
    return Forged(back(forged.image), real, targets, stages, forged.metrics)
