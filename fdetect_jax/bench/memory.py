"""Memory of one step of Algorithm 1 at the paper's size, by XLA's analysis; nothing is allocated.

EfficientNet-B4 at 380 px in training, G of 1024 px (config-f), E and E2 on IR-SE50 and D = 128, all in bfloat16.
"""

import dataclasses

import jax
import jax.numpy as jnp

from fdetect_jax import parallel
from fdetect_jax.bench.benchmarks import adv_config
from fdetect_jax.bench.setting import Setting
from fdetect_jax.forgery.latent import LatentAdversary
from fdetect_jax.forgery.pgd import Attack
from fdetect_jax.gan import inversion
from fdetect_jax.gan.encoders import EncoderConfig
from fdetect_jax.gan.hyperinverter import HyperConfig
from fdetect_jax.train.detector import DetectorTask

# An accelerator's compiler schedules operations for memory; the CPU's does so only with this option.
_FRUGAL = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


@dataclasses.dataclass(frozen=True)
class Memory:
    """Gigabytes (1e9 bytes): of the arguments (weights, optimiser, batch), and of the temporary buffers."""

    arguments: float
    temporary: float


def adv_step(render: str, remat: bool, setting: Setting) -> Memory:
    """Compiles Algorithm 1 of ``setting`` with ``forgery.latent.render`` and with or without rematerialisation."""
    config = adv_config(setting, "facesim64")  # an inverter to start from; its networks are replaced
    config.forgery.latent.update(render=render, remat=remat)
    config.detector.overrides["remat"] = remat
    task = DetectorTask(config)
    batch, pixels, resolution = setting.batch, setting.pixels, setting.resolution
    configs = {
        "generator": {"resolution": resolution},
        "encoder": dataclasses.asdict(EncoderConfig()),
        "hyper": dataclasses.asdict(HyperConfig()),
    }
    options = config.forgery.latent
    networks = inversion.build(configs, dtype=jnp.dtype(options.dtype), remat=options.remat)
    key, image = jax.random.key(0), jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
    frozen = {
        "generator": jax.eval_shape(networks.generator.init, key, jax.ShapeDtypeStruct((1, 512), jnp.float32)),
        "encoder": jax.eval_shape(networks.encoder.init, key, image),
        "hyper": jax.eval_shape(networks.hyper.init, key, image, image),
    }
    latent = LatentAdversary(networks, Attack(**options.attack.to_dict()), options.space, options.render)
    task.mix = dataclasses.replace(task.mix, made={"latent": latent})
    state = jax.eval_shape(task.init, jnp.uint32(0), task.start)
    rows = {"image": jax.ShapeDtypeStruct((batch, pixels, pixels, 3), jnp.uint8)}
    step = parallel.compile_step(task.step, parallel.make_mesh(1))
    found = step.lower(state, rows, {"latent": frozen}).compile(_FRUGAL).memory_analysis()
    return Memory(found.argument_size_in_bytes / 1e9, found.temp_size_in_bytes / 1e9)
