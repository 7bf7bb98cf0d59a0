"""The inversion trainer: HyperInverter H on a frozen generator G, and optionally the encoder E.

In: a folder with ``generator.safetensors`` (encoder and discriminator if available), a source of faces and a config.
Out: ``<workdir>/inverter`` with G, E and H and a card. Losses: L2; LPIPS, identity and MoCo if their weights files are
set; adversarial.

Source: HyperInverter (arXiv 2112.00719) and its authors' code (github.com/VinAIResearch/HyperInverter).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from fdetect_jax import parallel, weights
from fdetect_jax.data.sources import make_source
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation.reconstruction import measure, samples
from fdetect_jax.fields import at_least, decay_rate, from_fields, get, one_of, refuse
from fdetect_jax.gan import inversion, perceptual
from fdetect_jax.gan.discriminator import Discriminator, DiscriminatorConfig
from fdetect_jax.gan.lazy import is_due, lazy_value_and_grad
from fdetect_jax.gan.objectives import discriminator_loss, generator_loss, r1_penalty
from fdetect_jax.gan.stylegan2 import Generator, to_signed
from fdetect_jax.optim.schedules import SCHEDULES
from fdetect_jax.remote import here
from fdetect_jax.report.card import write_card
from fdetect_jax.report.gallery import Gallery, gallery_png
from fdetect_jax.train.inverter import batches, check_common, updated
from fdetect_jax.train.task import EvaluationResult
from fdetect_jax.types import TrainState, to_unit


def check(config: ConfigDict) -> None:
    """Checks the fields that this trainer reads, and that the files it starts from exist.

    Raises:
      UserError: names the first invalid field, the value found and the values wanted.
    """
    check_common(config, "train", "test")
    at_least(config, "encoder_learning_rate", 0)
    one_of(config, "schedule", SCHEDULES)
    decay_rate(config, "adam_b2")
    at_least(config, "losses.adversarial.r1_interval", 1)
    folder = Path(here(config.inverter))
    if not (folder / "generator.safetensors").is_file():
        wanted = "a folder with generator.safetensors, as configs/gan.py writes it (<workdir>/inverter)"
        refuse("inverter", config.inverter, wanted)
    file = folder / "generator.safetensors"
    size = get(weights.describe(file, "generator")[0], "resolution", f"{file}: generator")
    if config.data.size != size:
        refuse("data.size", config.data.size, f"{size}, the resolution of the generator of {folder}")
    for name, options in config.losses.items():
        at_least(config, f"losses.{name}.weight", 0)
        if options.weight and "weights" in options and not Path(options.weights).is_file():
            refuse(f"losses.{name}.weights", options.weights, f"a safetensors file, since losses.{name}.weight > 0")
    if config.losses.adversarial.weight and not (folder / "discriminator.safetensors").is_file():
        refuse("losses.adversarial.weight", config.losses.adversarial.weight, f"0: {folder} has no discriminator")


class InversionTask:
    """Trains H (and E, if ``encoder_learning_rate`` > 0) against a frozen G."""

    title = "HyperInverter"

    def __init__(self, config: ConfigDict):
        self.config = config
        folder = Path(here(config.inverter))
        g_config, generator, self.made_from = weights.read(folder / "generator.safetensors", "generator")
        self.start = {}
        e_config = config.encoder.to_dict()
        if (folder / "encoder.safetensors").exists():
            e_config, self.start["encoder"], _ = weights.read(folder / "encoder.safetensors", "encoder")
        elif not config.encoder_learning_rate:
            raise UserError(f"encoder_learning_rate: found 0, but {folder} holds no encoder; wanted one or the other")
        self.configs = {"generator": g_config, "encoder": e_config, "hyper": config.hyper.to_dict()}
        self.networks = inversion.build(self.configs)
        inversion.check(self.networks, {"generator": generator, **self.start}, folder, ["generator", *self.start])
        self.trunk_from_e = (
            "encoder" in self.start and self.networks.hyper.config.trunk == self.networks.encoder.config.trunk
        )
        if config.freeze_batch_stats and not self.trunk_from_e:
            raise UserError(
                f"freeze_batch_stats: found True, wanted False, since {folder} holds no encoder of hyper's trunk"
            )
        self.frozen = {"generator": generator}
        self.terms = {}
        for name in perceptual.TERMS:
            if config.losses[name].weight:
                self.terms[name], self.frozen[name] = perceptual.load_term(name, config.losses[name].weights)
        if config.losses.adversarial.weight:
            file = folder / "discriminator.safetensors"
            d_config, self.start["discriminator"], _ = weights.read(file, "discriminator")
            self.discriminator = Discriminator(from_fields(DiscriminatorConfig, d_config, f"{file}: discriminator"))
            image = jax.ShapeDtypeStruct((1, config.data.size, config.data.size, 3), jnp.float32)
            if differs := weights.difference(self.discriminator, self.start["discriminator"], image):
                raise UserError(f"{file}: found other arrays than its discriminator has ({differs})")
        self.source, self.held_out = (make_source(config.data, split) for split in ("train", "test"))
        schedule = SCHEDULES[config.schedule]
        rates = {"hyper": schedule(config.learning_rate, config.steps)}
        if config.encoder_learning_rate:
            rates["encoder"] = schedule(config.encoder_learning_rate, config.steps)
        if config.losses.adversarial.weight:
            rates["discriminator"] = config.learning_rate
        self.optimizers = {name: optax.adam(rate, b2=config.adam_b2) for name, rate in rates.items()}

    def init(self, seed: jax.Array, start: dict[str, Any]) -> TrainState:
        """start: the variables of trained networks, by name."""
        ke, kh, rng = jax.random.split(jax.random.key(seed), 3)
        r = self.networks.resolution
        image = jnp.zeros((2, r, r, 3))
        variables = jax.tree.map(jnp.copy, start)  # the parts below would share memory, which a step gives away
        if "encoder" not in variables:
            variables["encoder"] = self.networks.encoder.init(ke, image)
        variables["hyper"] = self.networks.hyper.init(kh, image, image)
        if self.trunk_from_e:
            # E2 starts from the parameters of E; the original starts it from a trained face network.
            for collection, tree in variables["hyper"].items():
                tree["encoder"]["trunk"] = start["encoder"][collection]["trunk"]
        opt_state = {name: opt.init(variables[name]["params"]) for name, opt in self.optimizers.items()}
        return TrainState(jnp.zeros((), jnp.int32), variables, opt_state, rng, {})

    def batches(self, devices: parallel.Devices):
        return batches(self.config, self.source)

    def step(self, state: TrainState, batch: dict, frozen: Any) -> tuple[TrainState, dict]:
        config, real = self.config, to_signed(to_unit(batch["image"]))
        variables, opt_state = dict(state.variables), dict(state.opt_state)

        def update(name: str, gradient: Any, due: jax.Array | None = None) -> None:
            before, optimizer = variables[name]["params"], self.optimizers[name]
            params, opt_state[name] = updated(optimizer, parallel.mean(gradient), before, opt_state[name], due)
            variables[name] = {**variables[name], "params": params}

        learned = {name: variables[name]["params"] for name in ("encoder", "hyper")}
        (_, (metrics, stats, fake)), gradient = jax.value_and_grad(self._loss, has_aux=True)(
            learned, variables, frozen, real, state.step
        )
        for name in ("encoder", "hyper"):
            if name in self.optimizers:
                update(name, gradient[name])
                variables[name] = {**variables[name], "batch_stats": parallel.mean(stats[name])}
        if config.losses.adversarial.weight:
            c = config.losses.adversarial
            d_loss, gradient = jax.value_and_grad(self._d_loss)(variables["discriminator"]["params"], fake, real)
            begun = state.step >= c.start  # generator and discriminator losses start at the same step
            update("discriminator", gradient, begun)
            params = variables["discriminator"]["params"]
            metrics["loss/r1"], gradient = lazy_value_and_grad(state.step, c.r1_interval, self._r1_loss, params, real)
            update("discriminator", gradient, begun & is_due(state.step, c.r1_interval))
            metrics["loss/discriminator"] = d_loss
        return TrainState(state.step + 1, variables, opt_state, state.rng, state.extra), metrics

    def _loss(self, learned, variables, frozen, real, step):
        g, stats = self.networks.generator, {}
        encoder = {**variables["encoder"], "params": learned["encoder"]}
        if "encoder" in self.optimizers:
            w, changed = self.networks.encoder.apply(encoder, real, train=True, mutable="batch_stats")
            stats["encoder"] = changed["batch_stats"]
        else:
            w = self.networks.encoder.apply(encoder, real)
        w = w + frozen["generator"]["buffers"]["mapping"]["w_avg"][None]
        first = g.apply(frozen["generator"], w, method=Generator.synthesize)
        hyper = {**variables["hyper"], "params": learned["hyper"]}
        shown = jax.lax.stop_gradient(first)
        train = not self.config.freeze_batch_stats
        offsets, changed = self.networks.hyper.apply(hyper, real, shown, train=train, mutable="batch_stats")
        stats["hyper"] = changed["batch_stats"]
        image = g.apply(frozen["generator"], jax.lax.stop_gradient(w), offsets, method=Generator.synthesize)
        metrics, total = {}, 0.0
        for part, made in (("encoder", first), ("hyper", image)):
            for name, value in self._terms(made, real, frozen).items():
                metrics[f"loss/{part}_{name}"] = value
                total += self.config.losses[name].weight * value
        if self.config.losses.adversarial.weight:
            params = variables["discriminator"]["params"]
            fooled = generator_loss(self._discriminate(params, image))
            begun = step >= self.config.losses.adversarial.start
            total += jnp.where(begun, self.config.losses.adversarial.weight, 0.0) * fooled
            metrics["loss/adversarial"] = fooled
        return total, (metrics, stats, jax.lax.stop_gradient(image))

    def _terms(self, made: jax.Array, real: jax.Array, frozen: Any) -> dict[str, jax.Array]:
        found = {"l2": jnp.mean(jnp.square(perceptual.working_size(made) - perceptual.working_size(real)))}
        for name, term in self.terms.items():
            found[name] = jnp.mean(term(frozen[name], made, real))
        return found

    def _discriminate(self, params: Any, image: jax.Array) -> jax.Array:
        return self.discriminator.apply({"params": params}, image)

    def _d_loss(self, params, fake, real):
        return 0.5 * discriminator_loss(self._discriminate(params, fake), self._discriminate(params, real))

    def _r1_loss(self, params, real):
        c = self.config.losses.adversarial
        return c.r1_interval * 0.5 * c.r1_gamma * r1_penalty(partial(self._discriminate, params), real)

    def evaluate(self, state: TrainState, devices: parallel.Devices, show: Callable[[str], None]) -> EvaluationResult:
        config = self.config
        variables = {"generator": devices.place(self.frozen["generator"]), **state.variables}
        figures, columns = measure(
            self.networks, variables, self.held_out, config.eval_limit, config.eval_batch_size, devices.compile_eval
        )
        return EvaluationResult(figures=figures, gallery=Gallery(columns, {}))

    def export(self, state: TrainState, folder: Path, result: EvaluationResult) -> None:
        variables = {"generator": self.frozen["generator"]}
        variables |= {name: state.variables[name] for name in ("encoder", "hyper")}
        notes = {"seed": str(self.config.seed), "step": str(int(state.step)), "source": self.source.fingerprint}
        made = folder / "inverter"
        inversion.save(made, self.configs, variables, np.float16, **notes)
        # The card is published with the weights: it never shows photographs, nor reconstructions of them.
        count = len(result.gallery.columns["real"])
        shown = samples(self.networks, variables, count, self.config.seed)
        if self.config.data.source == "facesim":
            shown = dict(result.gallery.columns) | shown
        gallery_png(shown, made / "samples.png")
        figures = result.figures
        write_card(
            made / "README.md",
            name=self.config.card.name,
            what=self.config.card.what,
            data=self.config.card.data,
            config=self.config.card.config,
            seed=self.config.seed,
            figures={"psnr": figures["psnr/hyper"], "ssim": figures["ssim/hyper"], **figures},
            licence=self.config.card.licence,
            picture=made / "samples.png",
            commands=list(self.config.card.commands),
        )
