"""Forgeries in a generator's latent space: the reconstruction G(E(x)), and the latent adversary of Algorithm 1."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from fdetect_jax import assets
from fdetect_jax.errors import UserError
from fdetect_jax.fields import at_least, get, known, one_of
from fdetect_jax.forgery.base import Forged, Scene, Setup
from fdetect_jax.forgery.pgd import Attack, ascend, trajectory
from fdetect_jax.forgery.projection import radius
from fdetect_jax.gan import inversion
from fdetect_jax.gan.inversion import Inverter
from fdetect_jax.nn.keys import purposes
from fdetect_jax.types import margin, score

SPACES = ("w", "w+", "z")
RENDERS = ("full", "fit")
INVERTER = ("inverter", "dtype", "remat")  # fields of the config that name the networks
_INVERTER_HINT = (
    "the paper's is a 1024 px StyleGAN2 with HyperInverter on FFHQ (https://github.com/NVlabs/ffhq-dataset): "
    "configs/gan.py:config_f and then configs/inversion.py:paper write one to <workdir>/inverter"
)


def fit(image: jax.Array, size: int) -> jax.Array:
    """Resizes (B, R, R, 3) to the detector's side, antialiased; unchanged if it has that size."""
    if image.shape[1] == size:
        return image
    return jax.image.resize(image, (image.shape[0], size, size, 3), "linear", antialias=True)


def as_rendered(images: jax.Array, resolution: int) -> jax.Array | None:
    """Real faces (B, S, S, 3) with the sharpness that fakes rendered at ``resolution`` have at S; None where those are
    not enlarged."""
    return fit(fit(images, resolution), images.shape[1]) if resolution < images.shape[1] else None


def when(wanted: bool | jax.Array, make: Callable[[], Any]) -> Any:
    """The result of ``make`` if ``wanted``, otherwise zeros of the same shapes, without the cost of ``make``."""
    if isinstance(wanted, bool) and wanted:
        return make()
    shapes = jax.eval_shape(make)
    nothing = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)
    return nothing if isinstance(wanted, bool) else jax.lax.cond(wanted, make, lambda: nothing)


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """G(E(x)), with HyperInverter's offsets if the inverter has H. No attack."""

    inverter: Inverter
    frozen: Any = None
    counterpart: bool = True

    def forge(self, keys: jax.Array, scene: Scene) -> Forged:
        found = self.inverter.invert(scene.frozen, scene.images).image
        made, real = fit(found, scene.images.shape[1]), as_rendered(scene.images, found.shape[1])
        metrics = when(scene.logged, lambda: {"p_fake/reconstruction": jnp.mean(score(scene.classify(made)))})
        return Forged(made, real, metrics=metrics)


@flax.struct.dataclass
class AttackPath:
    """An attack step by step, from the start to the final fake.

    image: (steps + 1, B, S, S, 3) in [0, 1]. radius: (steps + 1, B), norm of the offset.
    """

    image: jax.Array
    radius: jax.Array


class _Climb(NamedTuple):
    """The setup of an attack: ascends ``objective``, a function of the offset from the latent ``origin`` (B, …).

    resolution: at which G renders.
    """

    origin: jax.Array
    resolution: int
    render: Callable[[jax.Array], jax.Array]
    objective: Callable[[jax.Array], jax.Array]
    keys: jax.Array


@dataclasses.dataclass(frozen=True)
class LatentAdversary:
    """Moves the latent of a face to raise the detector's loss for the label *fake*, so that the fake passes as real.

    space: "w" moves one vector with Δθ held fixed, "w+" one per layer, "z" starts from a random face of G, so that the
    fake is no counterpart of the face. render: "full" renders at G's resolution, as in the paper; "fit" at the smallest
    one not below the detector's, which costs less. warmup: over this many steps adversaries replace reconstructions
    row by row, because an untrained detector learns nothing from fakes made against it. Stages: "reconstruction".
    """

    inverter: Inverter
    attack: Attack
    space: str = "w"
    render: str = "full"
    warmup: int = 0
    frozen: Any = None

    def __post_init__(self):
        for name, allowed in (("space", SPACES), ("render", RENDERS)):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name}: found {getattr(self, name)!r}, wanted one of {allowed}")

    @property
    def counterpart(self) -> bool:
        return self.space != "z"

    def forge(self, keys: jax.Array, scene: Scene) -> Forged:
        climb = self._climb(keys, scene)
        delta = ascend(climb.objective, climb.keys, climb.origin.shape[1:], self.attack)
        made = climb.render(climb.origin + delta)
        warming = scene.step + 1 < self.warmup if self.warmup else False
        wanted = True if scene.stages or scene.logged is True else scene.logged | warming
        start = when(wanted, lambda: climb.render(climb.origin))
        fake = made
        if self.warmup:
            draws = jax.vmap(jax.random.uniform)(purposes(keys, "warm-up"))
            attacked = draws < (scene.step + 1) / self.warmup
            fake = jnp.where(attacked[:, None, None, None], made, start)
        metrics = when(scene.logged, lambda: self._metrics(scene, start, made, delta))
        stages = {"reconstruction": start} if scene.stages else {}
        return Forged(fake, as_rendered(scene.images, climb.resolution), stages=stages, metrics=metrics)

    def _metrics(self, scene: Scene, start: jax.Array, made: jax.Array, delta: jax.Array) -> dict[str, jax.Array]:
        length = radius(delta, self.attack.norm)
        before, after = jnp.split(score(scene.classify(jnp.concatenate([start, made]))), 2)
        return {
            "p_fake/reconstruction": jnp.mean(before),
            "p_fake/adversary": jnp.mean(after),
            "delta_norm": jnp.mean(length),
            "on_sphere": jnp.mean((length >= self.attack.epsilon * (1 - 1e-4)).astype(jnp.float32)),
        }

    def path(self, keys: jax.Array, scene: Scene) -> AttackPath:
        """The steps of ``forge`` with the same arguments, up to its result."""
        climb = self._climb(keys, scene)
        deltas = trajectory(climb.objective, climb.keys, climb.origin.shape[1:], self.attack)
        length = jax.vmap(lambda delta: radius(delta, self.attack.norm))(deltas)
        return AttackPath(jax.lax.map(lambda delta: climb.render(climb.origin + delta), deltas), length)

    def _climb(self, keys: jax.Array, scene: Scene) -> _Climb:
        size, g, frozen = scene.images.shape[1], self.inverter.generator.config, scene.frozen
        if self.space == "z":
            origin = jax.vmap(lambda key: jax.random.normal(key, (g.z_dim,)))(purposes(keys, "random face"))
            offsets = None
        else:
            found = self.inverter.invert(frozen, scene.images)
            origin, offsets = found.w, found.offsets
            if self.space == "w+":
                origin = jnp.broadcast_to(origin[:, None], (origin.shape[0], g.num_ws, g.w_dim))

        resolution = g.resolution_for(size) if self.render == "fit" else g.resolution

        def render(latent: jax.Array) -> jax.Array:
            w = self.inverter.map(frozen, latent) if self.space == "z" else latent
            return fit(self.inverter.render(frozen, w, offsets, resolution), size)

        def loss_of_fake(delta: jax.Array) -> jax.Array:
            towards_real = -margin(scene.classify(render(origin + delta)))
            if self.attack.gradient == "normalized":
                # The loss is monotonic in this margin, so its normalised gradient is the same. Where the detector is
                # sure, the loss's own gradient, (1 - p) times this one, rounds to zero.
                return towards_real
            return jax.nn.softplus(towards_real)  # cross-entropy of the label fake

        return _Climb(origin, resolution, render, loss_of_fake, purposes(keys, "start of the attack"))


def make_reconstruction(setup: Setup) -> Reconstruction:
    """Built from the fields ``inverter``, ``dtype`` and ``remat``."""
    inverter, frozen = _networks(setup.options)
    return Reconstruction(inverter, frozen)


def make_latent(setup: Setup) -> LatentAdversary:
    """Built from those fields, and ``space``, ``render``, ``warmup`` and ``attack``."""
    inverter, frozen = _networks(setup.options)
    options = setup.options
    attack = Attack(**dict(options["attack"]))
    return LatentAdversary(inverter, attack, options["space"], options["render"], options.get("warmup", 0), frozen)


def _networks(options: Mapping[str, Any]) -> tuple[Inverter, Any]:
    return inversion.load(assets.inverter(options["inverter"]), jnp.dtype(options["dtype"]), options["remat"])


def check_reconstruction(options: Mapping[str, Any], path: str) -> None:
    """Raises UserError; names the field that cannot be used."""
    check_inverter(options, path)
    one_of(options, "remat", (False, True), path)


def check_inverter(options: Mapping[str, Any], path: str) -> None:
    """Checks ``inverter`` and ``dtype``. Raises UserError."""
    one_of(options, "dtype", ("float32", "bfloat16"), path)
    try:
        assets.inverter(get(options, "inverter", path))
    except UserError as error:
        hint = f"; {_INVERTER_HINT}, given as --config.{path}.inverter=DIR" if not options["inverter"] else ""
        raise UserError(f"{path}.{error}{hint}") from None


def check_latent(options: Mapping[str, Any], path: str) -> None:
    """As ``check_reconstruction``, plus the attack's fields."""
    check_reconstruction(options, path)
    one_of(options, "space", SPACES, path)
    one_of(options, "render", RENDERS, path)
    at_least(options, "warmup", 0, path)
    fields = {field.name for field in dataclasses.fields(Attack)}
    attack = dict(get(options, "attack", path))
    known(attack, fields, f"{path}.attack")
    try:
        Attack(**attack)
    except UserError as error:
        raise UserError(f"{path}.attack.{error}") from None
