"""The GAN trainer: StyleGAN2 on one source of faces, optionally with an encoder that learns beside it.

With ``config.reconstruction > 0`` an encoder E is trained together with G on ‖G(E(x)) − x‖², so that the latent space
holds the faces of the source from the start; the inversion trainer then goes on from both.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from fdetect_jax import weights
from fdetect_jax.data import pipeline
from fdetect_jax.data.augment import Augment
from fdetect_jax.data.sources import make_source
from fdetect_jax.evaluation.gallery import Gallery
from fdetect_jax.gan import inversion
from fdetect_jax.gan.discriminator import Discriminator, DiscriminatorConfig
from fdetect_jax.gan.objectives import discriminator_loss, generator_loss, lazy_adam, path_lengths, r1_penalty
from fdetect_jax.gan.stylegan2 import Generator, from_signed, to_signed, truncate
from fdetect_jax.train import parallel
from fdetect_jax.train.lazy import lazy_select, lazy_value_and_grad
from fdetect_jax.train.reconstruction import reconstructions, to_bytes
from fdetect_jax.train.task import Findings
from fdetect_jax.types import TrainState, to_unit


class GanTask:
    """StyleGAN2 training, specs C.5: every step D and G; R1 and path length lazily; EMA of G (and of E)."""

    title = "StyleGAN2"
    frozen = None

    def __init__(self, config: ConfigDict):
        self.config = config
        self.configs = {name: config[name].to_dict() for name in ("generator", "encoder")}
        self.networks = inversion.build(self.configs)
        g = self.networks.generator.config
        self.discriminator = Discriminator(
            DiscriminatorConfig(g.resolution, g.channel_base, g.channel_max, config.group_size)
        )
        self.source = make_source(config.data, "train")
        pl, r1 = config.path_length, config.r1
        self.optimizers = {
            "generator": optax.adam(**lazy_adam(config.learning_rate, pl.interval if pl.weight else 0)),
            "discriminator": optax.adam(**lazy_adam(config.learning_rate, r1.interval if r1.gamma else 0)),
            "encoder": optax.adam(config.encoder_learning_rate),
        }

    def init(self, seed: int) -> TrainState:
        key = jax.random.key(seed)
        kg, kd, ke, rng = jax.random.split(key, 4)
        g = self.networks.generator.config
        image = jnp.zeros((self.config.group_size, g.resolution, g.resolution, 3))
        variables = {
            "generator": jax.jit(self.networks.generator.init)(kg, jnp.zeros((1, g.z_dim))),
            "discriminator": jax.jit(self.discriminator.init)(kd, image),
            "encoder": jax.jit(self.networks.encoder.init)(ke, image),
        }
        opt_state = {name: opt.init(variables[name]["params"]) for name, opt in self.optimizers.items()}
        extra = {"average": jax.tree.map(jnp.copy, _learned(variables)), "path_mean": jnp.zeros(())}
        return TrainState(jnp.zeros((), jnp.int32), variables, opt_state, rng, extra)

    def batches(self):
        return pipeline.train_batches(
            self.source, self.config.batch_size // jax.process_count(), self.config.seed, augment=dataclasses.replace(Augment.off(), flip=0.5)
        )

    def step(self, state: TrainState, batch: dict, frozen: Any) -> tuple[TrainState, dict]:
        config = self.config
        real = to_signed(to_unit(batch["image"]))
        key = jax.random.fold_in(state.rng, state.step)
        keys = dict(zip(("d", "g", "path"), jax.random.split(key, 3), strict=True))
        variables, opt_state, extra = dict(state.variables), dict(state.opt_state), dict(state.extra)

        def update(name: str, gradient: Any, interval: int = 1) -> None:
            gradient = jax.tree.map(lambda g: jnp.nan_to_num(g, posinf=1e5, neginf=-1e5), parallel.mean(gradient))
            before = variables[name]["params"], opt_state[name]
            changes, changed = self.optimizers[name].update(gradient, opt_state[name], before[0])
            after = optax.apply_updates(before[0], changes), changed
            params, opt_state[name] = lazy_select(state.step, interval, after, before) if interval > 1 else after
            variables[name] = {**variables[name], "params": params}

        count = real.shape[0] * config.adversarial_batch_size // config.batch_size
        judged = real[:count]
        fake, _ = self._sample(variables["generator"], keys["d"], count)
        d_loss, gradient = jax.value_and_grad(self._d_loss)(variables["discriminator"]["params"], fake, judged)
        update("discriminator", gradient)
        metrics = {"loss/discriminator": d_loss}
        if config.r1.gamma:
            params, interval = variables["discriminator"]["params"], config.r1.interval
            metrics["loss/r1"], gradient = lazy_value_and_grad(state.step, interval, self._r1_loss, params, judged)
            update("discriminator", gradient, interval)

        trained = {name: variables[name]["params"] for name in ("generator", "encoder")}
        (_, (terms, w_mean, stats)), gradient = jax.value_and_grad(self._g_loss, has_aux=True)(
            trained, variables, keys["g"], real, count
        )
        metrics |= terms
        update("generator", gradient["generator"])
        if config.reconstruction:
            update("encoder", gradient["encoder"])
            variables["encoder"] = {**variables["encoder"], "batch_stats": parallel.mean(stats)}
        buffers = variables["generator"]["buffers"]
        w_avg = optax.incremental_update(parallel.mean(w_mean), buffers["mapping"]["w_avg"], 1 - 0.995)
        variables["generator"] = {**variables["generator"], "buffers": {**buffers, "mapping": {"w_avg": w_avg}}}
        if config.path_length.weight:
            average, params, interval = extra["path_mean"], variables["generator"]["params"], config.path_length.interval
            (metrics["loss/path_length"], path_mean), gradient = lazy_value_and_grad(
                state.step, interval, self._path_loss, params, variables, average, keys["path"], judged, otherwise=average
            )
            extra["path_mean"] = parallel.mean(path_mean)
            update("generator", gradient, interval)

        beta = 0.5 ** (config.adversarial_batch_size / (config.ema_kimg * 1000))
        # The average follows closely at first and slows down, so that short runs do not average their beginning.
        beta = jnp.minimum(beta, (1.0 + state.step) / (10.0 + state.step))
        extra["average"] = optax.incremental_update(_learned(variables), extra["average"], 1 - beta)
        return TrainState(state.step + 1, variables, opt_state, state.rng, extra), metrics

    def _sample(self, variables: Any, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        """Random images with style mixing, (count, R, R, 3), and the mean of their first w."""
        g, config = self.networks.generator, self.config
        kz, kc, ks, kn = jax.random.split(key, 4)
        z = parallel.normal_rows(kz, 2 * count, g.config.z_dim).reshape(2, count, -1)
        w = g.apply(variables, z.reshape(2 * count, -1), method=Generator.map).reshape(2, count, 1, -1)
        cut = jax.random.randint(kc, (), 1, g.config.num_ws)
        cut = jnp.where(jax.random.uniform(ks) < config.style_mixing, cut, g.config.num_ws)
        ws = jnp.where(jnp.arange(g.config.num_ws)[:, None] < cut, w[0], w[1])
        noise = {"noise": jax.random.fold_in(kn, jax.lax.axis_index(parallel.AXIS))}
        image = g.apply(variables, ws, None, "random", rngs=noise, method=Generator.synthesize)
        return image, jax.lax.stop_gradient(jnp.mean(w[0, :, 0], axis=0))

    def _discriminate(self, params: Any, image: jax.Array) -> jax.Array:
        return self.discriminator.apply({"params": params}, image)

    def _d_loss(self, params, fake, real):
        return discriminator_loss(self._discriminate(params, fake), self._discriminate(params, real))

    def _r1_loss(self, params, real):
        gamma, interval = self.config.r1.gamma, self.config.r1.interval
        return interval * 0.5 * gamma * r1_penalty(lambda image: self._discriminate(params, image), real)

    def _g_loss(self, params, variables, key, real, count):
        generator = {**variables["generator"], "params": params["generator"]}
        fake, w_mean = self._sample(generator, key, count)
        adversarial = generator_loss(self._discriminate(variables["discriminator"]["params"], fake))
        terms, loss, stats = {"loss/generator": adversarial}, adversarial, variables["encoder"]["batch_stats"]
        if self.config.reconstruction:
            encoder = {**variables["encoder"], "params": params["encoder"]}
            w, changed = self.networks.encoder.apply(encoder, real, train=True, mutable="batch_stats")
            stats = changed["batch_stats"]
            w = w + generator["buffers"]["mapping"]["w_avg"]
            image = self.networks.generator.apply(generator, w, method=Generator.synthesize)
            error = jnp.mean(jnp.square(image - real))
            loss += self.config.reconstruction * error
            terms["loss/reconstruction"] = error
        return loss, (terms, w_mean, stats)

    def _path_loss(self, params, variables, average, key, like):
        g, c = self.networks.generator, self.config.path_length
        generator = {**variables["generator"], "params": params}
        kz, kn, ky = jax.random.split(key, 3)
        count = max(1, like.shape[0] // 2)
        w = g.apply(generator, parallel.normal_rows(kz, count, g.config.z_dim), method=Generator.map)
        ws = jnp.broadcast_to(w[:, None], (count, g.config.num_ws, w.shape[-1]))
        noise = {"noise": jax.random.fold_in(kn, jax.lax.axis_index(parallel.AXIS))}
        y = parallel.normal_rows(ky, count, *like.shape[1:])
        lengths = path_lengths(
            lambda ws: g.apply(generator, ws, None, "random", rngs=noise, method=Generator.synthesize), ws, y
        )
        mean = average + 0.01 * (jnp.mean(lengths) - average)
        return c.interval * c.weight * jnp.mean(jnp.square(lengths - mean)), mean

    def averaged(self, state: TrainState) -> dict:
        """Variables of G and E with moving averages in place of what was learned; G's buffers as they are."""
        return {name: {**state.variables[name], **state.extra["average"][name]} for name in ("generator", "encoder")}

    def evaluate(self, state, compile_eval, show) -> Findings:
        variables, config, networks = self.averaged(state), self.config, self.networks
        g = networks.generator.config
        count = config.eval_batch_size
        test = make_source(config.data, "test")

        def sample(variables, batch):
            w = networks.map(variables, batch["z"])
            ws = jnp.broadcast_to(w[:, None], (w.shape[0], g.num_ws, w.shape[1]))
            ws = truncate(ws, variables["generator"]["buffers"]["mapping"]["w_avg"], config.truncation)
            return networks.render(variables, ws)

        z = np.random.default_rng(config.seed).standard_normal((count, g.z_dim)).astype(np.float32)
        columns = {"sample": to_bytes(compile_eval(sample)(variables, {"z": z}))}
        figures = {}
        if config.reconstruction:
            invert = compile_eval(lambda v, b: networks.render(v, networks.encode(v, to_unit(b["image"]))))
            found = reconstructions(test, count, config.eval_limit, lambda image: invert(variables, {"image": image}))
            figures = {"psnr/encoder": float(found["psnr"].mean()), "ssim/encoder": float(found["ssim"].mean())}
            columns |= {"real": found["real"], "reconstruction": found["made"]}
        return Findings(figures=figures, gallery=Gallery({k: v[:count] for k, v in columns.items()}, {}))

    def export(self, state: TrainState, folder: Path, findings: Findings) -> None:
        variables = self.averaged(state)
        if not self.config.reconstruction:
            variables.pop("encoder")
        d = self.discriminator.config
        discriminator = state.variables["discriminator"]
        weights.save(folder / "pair" / "discriminator.safetensors", "discriminator", dataclasses.asdict(d), discriminator)
        notes = {"seed": str(self.config.seed), "step": str(int(state.step)), "source": self.source.fingerprint}
        inversion.save(folder / "pair", self.configs, variables, np.float16, **notes)


def _learned(variables: dict) -> dict:
    """What the moving average follows: G's parameters (its buffers are copied), all of E."""
    return {"generator": {"params": variables["generator"]["params"]}, "encoder": variables["encoder"]}
