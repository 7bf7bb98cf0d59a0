"""The GAN trainer: StyleGAN2 on one source of faces, optionally with an encoder trained alongside.

In: a source of faces and a config. Out: ``<workdir>/inverter`` with the generator G, the discriminator D and, if one
was trained, the encoder E. The inversion trainer continues from there.

With ``config.reconstruction.weight > 0`` E and G also minimise ‖G(E(x)) − x‖², with separate optimisers, and the
adversarial update runs every ``config.adversarial_interval`` steps. The latent space then covers the faces of the
source early; a GAN alone does not reach that in the steps that a small machine can afford.

Source: StyleGAN2 (arXiv 1912.04958) and its authors' PyTorch code (github.com/NVlabs/stylegan2-ada-pytorch).
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from fdetect_jax import parallel, weights
from fdetect_jax.data.sources import make_source
from fdetect_jax.evaluation.reconstruction import measure, samples
from fdetect_jax.fields import above, at_least, between, refuse
from fdetect_jax.gan import inversion
from fdetect_jax.gan.discriminator import Discriminator, DiscriminatorConfig
from fdetect_jax.gan.lazy import is_due, lazy_value_and_grad
from fdetect_jax.gan.objectives import discriminator_loss, generator_loss, lazy_adam, path_lengths, r1_penalty
from fdetect_jax.gan.stylegan2 import Generator, to_signed
from fdetect_jax.optim.schedules import cosine
from fdetect_jax.report.gallery import Gallery
from fdetect_jax.train.inverter import SHOWN, batches, check_common, updated
from fdetect_jax.train.task import EvaluationResult
from fdetect_jax.types import TrainState, to_unit


def check(config: ConfigDict) -> None:
    """Checks the fields that this trainer reads.

    Raises:
      UserError: names the first invalid field, the value found and the values wanted.
    """
    check_common(config, "train", *(["test"] if config.reconstruction.weight else []))
    size = config.generator.resolution
    if config.data.size != size:
        refuse("data.size", config.data.size, f"{size}, generator.resolution")
    if config.generator.w_dim != config.encoder.w_dim:
        refuse("encoder.w_dim", config.encoder.w_dim, f"{config.generator.w_dim}, generator.w_dim")
    at_least(config, "group_size", 1)
    if config.batch_size % min(config.group_size, config.batch_size):
        refuse("group_size", config.group_size, f"a divisor of batch_size {config.batch_size}")
    at_least(config, "adversarial_interval", 1)
    if config.adversarial_interval > 1 and not config.reconstruction.weight:
        refuse("adversarial_interval", config.adversarial_interval, "1, since reconstruction.weight is 0")
    for field in ("reconstruction.weight", "r1.gamma", "path_length.weight"):
        at_least(config, field, 0)
    for field in ("r1.interval", "path_length.interval"):
        at_least(config, field, 1)
    between(config, "style_mixing", 0, 1)
    above(config, "ema_kimg", 0)


class GanTask:
    """Trains D and G in every round, R1 and path length lazily, and keeps moving averages (EMA) of G and of E."""

    title = "StyleGAN2"
    frozen: ClassVar[dict] = {}
    start: ClassVar[dict] = {}

    def __init__(self, config: ConfigDict):
        self.config = config
        self.configs = {name: config[name].to_dict() for name in ("generator", "encoder")}
        self.networks = inversion.build(self.configs)
        g = self.networks.generator.config
        self.discriminator = Discriminator(
            DiscriminatorConfig(g.resolution, g.channel_base, g.channel_max, config.group_size)
        )
        self.source = make_source(config.data, "train")
        self.held_out = make_source(config.data, "test") if config.reconstruction.weight else None
        pl, r1, rec = config.path_length, config.r1, config.reconstruction
        self.optimizers = {
            "generator": optax.adam(**lazy_adam(config.learning_rate, pl.interval if pl.weight else 0)),
            "discriminator": optax.adam(**lazy_adam(config.learning_rate, r1.interval if r1.gamma else 0)),
        }
        if rec.weight:
            rates = {"generator": rec.learning_rate, "encoder": rec.encoder_learning_rate}
            self.optimizers["reconstruction"] = optax.multi_transform(
                {name: optax.adam(cosine(rate, config.steps), b2=0.99) for name, rate in rates.items()},
                {name: name for name in rates},
            )

    def init(self, seed: jax.Array, start: dict[str, Any]) -> TrainState:
        key = jax.random.key(seed)
        kg, kd, ke, rng = jax.random.split(key, 4)
        g = self.networks.generator.config
        image = jnp.zeros((self.config.group_size, g.resolution, g.resolution, 3))
        variables = {
            "generator": self.networks.generator.init(kg, jnp.zeros((1, g.z_dim))),
            "discriminator": self.discriminator.init(kd, image),
            "encoder": self.networks.encoder.init(ke, image),
        }
        params = {name: variables[name]["params"] for name in variables}
        params["reconstruction"] = {name: params[name] for name in ("generator", "encoder")}
        opt_state = {name: opt.init(params[name]) for name, opt in self.optimizers.items()}
        extra = {"average": jax.tree.map(jnp.copy, _learned(variables)), "path_mean": jnp.zeros(())}
        return TrainState(jnp.zeros((), jnp.int32), variables, opt_state, rng, extra)

    def batches(self, devices: parallel.Devices):
        return batches(self.config, self.source)

    def step(self, state: TrainState, batch: dict, frozen: Any) -> tuple[TrainState, dict]:
        config, metrics = self.config, {}
        real = to_signed(to_unit(batch["image"]))
        state = state.replace(variables=dict(state.variables), opt_state=dict(state.opt_state))
        if config.reconstruction.weight:
            metrics["loss/reconstruction"], state = self._reconstruct(state, real)
        found, state = self._play(state, real)
        # The average adapts quickly at first and then slows down, so that short runs do not average their start.
        beta = 0.5 ** (config.batch_size / (config.ema_kimg * 1000))
        beta = jnp.minimum(beta, (1.0 + state.step) / (10.0 + state.step))
        average = optax.incremental_update(_learned(state.variables), state.extra["average"], 1 - beta)
        return state.replace(step=state.step + 1, extra={**state.extra, "average": average}), metrics | found

    def _reconstruct(self, state: TrainState, real: jax.Array) -> tuple[jax.Array, TrainState]:
        """One step of E and G on the reconstruction loss."""
        variables = state.variables
        params = {name: variables[name]["params"] for name in ("generator", "encoder")}

        def loss(params):
            encoder = {**variables["encoder"], "params": params["encoder"]}
            w, changed = self.networks.encoder.apply(encoder, real, train=True, mutable="batch_stats")
            generator = {**variables["generator"], "params": params["generator"]}
            w = w + generator["buffers"]["mapping"]["w_avg"][None]
            image = self.networks.generator.apply(generator, w, method=Generator.synthesize)
            error = jnp.mean(jnp.square(image - real))
            return self.config.reconstruction.weight * error, (error, changed["batch_stats"])

        (_, (error, stats)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        name = "reconstruction"
        params, inner = updated(self.optimizers[name], parallel.mean(gradient), params, state.opt_state[name])
        variables = variables | {
            "generator": {**variables["generator"], "params": params["generator"]},
            "encoder": {**variables["encoder"], "params": params["encoder"], "batch_stats": parallel.mean(stats)},
        }
        return error, state.replace(variables=variables, opt_state={**state.opt_state, name: inner})

    def _play(self, state: TrainState, real: jax.Array) -> tuple[dict, TrainState]:
        """The adversarial round, every ``adversarial_interval`` steps; zeros are reported on the others."""
        interval = self.config.adversarial_interval
        if interval == 1:
            return self._game(state, real, state.step)
        game = jax.jit(self._game)  # traced once for both uses
        names, _ = jax.eval_shape(game, state, real, state.step)
        skip = {name: jnp.zeros(value.shape, value.dtype) for name, value in names.items()}
        return jax.lax.cond(
            (state.step + 1) % interval == 0,
            lambda state: game(state, real, state.step // interval),
            lambda state: (skip, state),
            state,
        )

    def _game(self, state: TrainState, real: jax.Array, round_: jax.Array) -> tuple[dict, TrainState]:
        """One round: D, lazily R1; G, lazily path length."""
        config = self.config
        keys = dict(zip("dgp", jax.random.split(jax.random.fold_in(state.rng, state.step), 3), strict=True))
        variables, opt_state, extra = dict(state.variables), dict(state.opt_state), dict(state.extra)

        def update(name: str, gradient: Any, due: jax.Array | None = None) -> None:
            gradient = jax.tree.map(lambda g: jnp.nan_to_num(g, posinf=1e5, neginf=-1e5), parallel.mean(gradient))
            before, optimizer = variables[name]["params"], self.optimizers[name]
            params, opt_state[name] = updated(optimizer, gradient, before, opt_state[name], due)
            variables[name] = {**variables[name], "params": params}

        count = real.shape[0]
        fake, _ = self._sample(variables["generator"], keys["d"], count)
        d_loss, gradient = jax.value_and_grad(self._d_loss)(variables["discriminator"]["params"], fake, real)
        update("discriminator", gradient)
        metrics = {"loss/discriminator": d_loss}
        if config.r1.gamma:
            params, interval = variables["discriminator"]["params"], config.r1.interval
            metrics["loss/r1"], gradient = lazy_value_and_grad(round_, interval, self._r1_loss, params, real)
            update("discriminator", gradient, is_due(round_, interval))

        params = variables["generator"]["params"]
        (g_loss, w_mean), gradient = jax.value_and_grad(self._g_loss, has_aux=True)(params, variables, keys["g"], count)
        metrics["loss/generator"] = g_loss
        update("generator", gradient)
        buffers = variables["generator"]["buffers"]
        w_avg = optax.incremental_update(parallel.mean(w_mean), buffers["mapping"]["w_avg"], 1 - 0.995)
        variables["generator"] = {**variables["generator"], "buffers": {**buffers, "mapping": {"w_avg": w_avg}}}
        if config.path_length.weight:
            mean, params, interval = extra["path_mean"], variables["generator"]["params"], config.path_length.interval
            (metrics["loss/path_length"], path_mean), gradient = lazy_value_and_grad(
                round_, interval, self._path_loss, params, variables, mean, keys["p"], real, otherwise=mean
            )
            extra["path_mean"] = parallel.mean(path_mean)
            update("generator", gradient, is_due(round_, interval))
        return metrics, state.replace(variables=variables, opt_state=opt_state, extra=extra)

    def _sample(self, variables: Any, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        """Random images with style mixing, (count, R, R, 3), and the mean of their first w."""
        g = self.networks.generator
        kz, kc, ks, kn = jax.random.split(key, 4)
        ws = self._mixed(variables, (kz, kc, ks), count)
        noise = {"noise": jax.random.fold_in(kn, jax.lax.axis_index(parallel.AXIS))}
        image = g.apply(variables, ws, None, "random", rngs=noise, method=Generator.synthesize)
        return image, jax.lax.stop_gradient(jnp.mean(ws[:, 0], axis=0))

    def _mixed(self, variables: Any, keys: tuple, count: int) -> jax.Array:
        """(count, num_ws, w_dim) latents of random z; with the config's probability, later layers use another z."""
        g, (kz, kc, ks) = self.networks.generator, keys
        z = parallel.normal_rows(kz, 2 * count, g.config.z_dim).reshape(2, count, -1)
        w = g.apply(variables, z.reshape(2 * count, -1), method=Generator.map).reshape(2, count, 1, -1)
        cut = jax.random.randint(kc, (), 1, g.config.num_ws)
        cut = jnp.where(jax.random.uniform(ks) < self.config.style_mixing, cut, g.config.num_ws)
        return jnp.where(jnp.arange(g.config.num_ws)[None, :, None] < cut, w[0], w[1])

    def _discriminate(self, params: Any, image: jax.Array) -> jax.Array:
        return self.discriminator.apply({"params": params}, image)

    def _d_loss(self, params, fake, real):
        return discriminator_loss(self._discriminate(params, fake), self._discriminate(params, real))

    def _r1_loss(self, params, real):
        gamma, interval = self.config.r1.gamma, self.config.r1.interval
        return interval * 0.5 * gamma * r1_penalty(lambda image: self._discriminate(params, image), real)

    def _g_loss(self, params, variables, key, count):
        fake, w_mean = self._sample({**variables["generator"], "params": params}, key, count)
        return generator_loss(self._discriminate(variables["discriminator"]["params"], fake)), w_mean

    def _path_loss(self, params, variables, average, key, like):
        g, c = self.networks.generator, self.config.path_length
        generator = {**variables["generator"], "params": params}
        kz, kc, ks, kn, ky = jax.random.split(key, 5)
        count = max(1, like.shape[0] // 2)
        ws = self._mixed(generator, (kz, kc, ks), count)
        noise = {"noise": jax.random.fold_in(kn, jax.lax.axis_index(parallel.AXIS))}
        y = parallel.normal_rows(ky, count, *like.shape[1:])
        lengths = path_lengths(
            lambda ws: g.apply(generator, ws, None, "random", rngs=noise, method=Generator.synthesize), ws, y
        )
        mean = average + 0.01 * (jnp.mean(lengths) - average)
        return c.interval * c.weight * jnp.mean(jnp.square(lengths - mean)), mean

    def averaged(self, state: TrainState) -> dict:
        """Variables of G and E with moving averages in place of the trained values; G's buffers are unchanged."""
        return {name: {**state.variables[name], **state.extra["average"][name]} for name in ("generator", "encoder")}

    def evaluate(self, state: TrainState, devices: parallel.Devices, show: Callable[[str], None]) -> EvaluationResult:
        variables, config, figures = self.averaged(state), self.config, {}
        columns: dict[str, np.ndarray] = {}
        if config.reconstruction.weight:
            figures, columns = measure(
                self.networks, variables, self.held_out, config.eval_limit, config.eval_batch_size, devices.compile_eval
            )
        shown, count = dict(columns), len(columns.get("real", range(SHOWN)))
        shown |= samples(self.networks, variables, count, config.seed)
        return EvaluationResult(figures=figures, gallery=Gallery(shown, {}))

    def export(self, state: TrainState, folder: Path, result: EvaluationResult) -> None:
        variables = self.averaged(state)
        if not self.config.reconstruction.weight:
            variables.pop("encoder")
        d = self.discriminator.config
        discriminator = state.variables["discriminator"]
        weights.save(
            folder / "inverter" / "discriminator.safetensors", "discriminator", dataclasses.asdict(d), discriminator
        )
        notes = {"seed": str(self.config.seed), "step": str(int(state.step)), "source": self.source.fingerprint}
        inversion.save(folder / "inverter", self.configs, variables, np.float16, **notes)


def _learned(variables: dict) -> dict:
    """The variables that the moving average tracks: G's parameters (its buffers are copied), all of E."""
    return {"generator": {"params": variables["generator"]["params"]}, "encoder": variables["encoder"]}
