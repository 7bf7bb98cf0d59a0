"""The JAX side of every benchmark: the project's modules, compiled as in training.

Weights are random; drop-connect and dropout are off, so that both sides compute the same numbers.
"""

import dataclasses
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from fdetect_jax import parallel
from fdetect_jax.bench import files, groups, scaling
from fdetect_jax.bench.crops import make_row
from fdetect_jax.bench.setting import EPSILON, LEARNING_RATE, MOMENTUM, RHO, Setting, lite
from fdetect_jax.convert import efficientnet
from fdetect_jax.data import pipeline, rows
from fdetect_jax.data.rows import MakeRow
from fdetect_jax.detectors import make_detector
from fdetect_jax.forgery.latent import fit
from fdetect_jax.forgery.pgd import Attack, ascend
from fdetect_jax.gan import inversion
from fdetect_jax.gan.stylegan2 import Generator
from fdetect_jax.optim.sam import sam
from fdetect_jax.train.detector import DetectorTask
from fdetect_jax.types import FAKE, REAL

NO_DROPOUT = {"dropout": 0.0, "drop_connect": 0.0}
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Work:
    """One benchmark, ready to run.

    call: runs it once; the result may be asynchronous. images: number of images per call.
    outputs: what the peer must also compute, by name. arrays: inputs and weights that the peer starts from.
    programs: (times, compiled program), to sum XLA's cost analysis, which counts the body of a loop once.
    stages: seconds per image pair for each part of the work, if it has several. figures: what else was measured, by
    name. prepare: untimed work before each call.
    """

    call: Callable[[], Any]
    images: int
    outputs: Arrays = dataclasses.field(default_factory=dict)
    arrays: Arrays = dataclasses.field(default_factory=dict)
    programs: tuple[tuple[int, Any], ...] = ()
    stages: dict[str, float] = dataclasses.field(default_factory=dict)
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    prepare: Callable[[], Any] = lambda: None


def random_variables(shapes: Any) -> Any:
    """Arrays like ``shapes`` (of ``jax.eval_shape``), small enough that rounding errors are not amplified."""
    flat = flax.traverse_util.flatten_dict(dict(shapes), sep="/")
    made = {path: _array(path, leaf.shape) for path, leaf in flat.items()}
    return flax.traverse_util.unflatten_dict(made, sep="/")


def _array(path: str, shape: tuple[int, ...]) -> np.ndarray:
    name = path.rsplit("/", 1)[-1]
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    array = rng.standard_normal(shape, np.float32)
    if name in ("scale", "var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if path.endswith("affine/bias"):
        return 1 + 0.1 * array
    if name.endswith("kernel"):
        return array * np.float32(np.sqrt(1 / np.prod(shape[:-1])))
    if name == "w1":
        return array * np.float32(np.sqrt(1 / shape[0]))
    if name == "w2":  # offsets of the kernels, which are N(0, 1)
        return array * np.float32(0.1 / np.sqrt(shape[0]))
    return array if name in ("weight", "const", "noise_const") else 0.1 * array


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def _images(setting: Setting) -> np.ndarray:
    """(B, S, S, 3) in [0, 1]."""
    shape = (setting.batch, setting.pixels, setting.pixels, 3)
    return np.random.default_rng(0).random(shape, np.float32)


def _detector(setting: Setting) -> tuple[Any, Any, Arrays]:
    """The module, its variables, and the variables under EfficientNet-PyTorch's names."""
    module = make_detector(setting.detector, NO_DROPOUT, dtype=jnp.dtype(setting.dtype))
    variables = random_variables(jax.eval_shape(module.init, jax.random.key(0), _images(setting)))
    theirs = efficientnet.export(dataclasses.asdict(module.config), variables, "lukemelas")
    return module, jax.device_put(variables), {f"detector.{key}": value for key, value in theirs.items()}


def _compile(function: Callable, *arguments: Any) -> Any:
    return jax.jit(function).lower(*arguments).compile()


def _work(run: Any, arguments: tuple, images: int, outputs: Callable[[Any], dict], arrays: Arrays) -> Work:
    found = {name: np.asarray(value, np.float32) for name, value in outputs(run(*arguments)).items()}
    return Work(lambda: run(*arguments), images, found, arrays, ((1, run),))


def b4_forward(setting: Setting) -> Work:
    """EfficientNet-B4's logits in eval mode."""
    module, variables, theirs = _detector(setting)
    images = _images(setting)
    arguments = variables, jnp.asarray(images)
    run = _compile(lambda variables, images: module.apply(variables, images).logits, *arguments)
    return _work(run, arguments, setting.batch, lambda logits: {"logits": logits}, theirs | {"images": images})


def b4_input_gradient(setting: Setting) -> Work:
    """The gradient of the margin with respect to the images, in eval mode, as in an attack."""
    module, variables, theirs = _detector(setting)
    images = _images(setting)
    arguments = variables, jnp.asarray(images)

    def gradient(variables, images):
        return jax.grad(lambda images: jnp.sum(_margin(module.apply(variables, images).logits)))(images)

    run = _compile(gradient, *arguments)
    return _work(run, arguments, setting.batch, lambda g: {"gradient": g}, theirs | {"images": images})


def _margin(logits: jax.Array) -> jax.Array:
    logits = logits.astype(jnp.float32)
    return logits[:, REAL] - logits[:, FAKE]


def b4_sam_step(setting: Setting) -> Work:
    """Two gradients in training mode and an SGD update with momentum: one step of sharpness-aware minimisation."""
    module, variables, theirs = _detector(setting)
    images = _images(setting)
    labels = np.arange(setting.batch, dtype=np.int32) % 2
    optimizer = sam(optax.sgd(LEARNING_RATE, momentum=MOMENTUM), RHO)

    def step(state, images, labels):
        params, stats, opt_state = state

        def loss(params):
            outputs, changed = module.apply(
                {"params": params, "batch_stats": stats}, images, train=True, mutable=["batch_stats"]
            )
            value = optax.softmax_cross_entropy_with_integer_labels(outputs.logits, labels).mean()
            return value, (outputs.logits, changed["batch_stats"])

        (_, (logits, changed)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(
            gradient, opt_state, params, grad_fn=lambda params: jax.grad(loss, has_aux=True)(params)[0]
        )
        return (optax.apply_updates(params, updates), changed, opt_state), logits

    state = variables["params"], variables["batch_stats"], optimizer.init(variables["params"])
    before = _probes(variables["params"])
    arguments = jnp.asarray(images), jnp.asarray(labels)
    run = jax.jit(step, donate_argnums=0).lower(state, *arguments).compile()
    state, logits = run(state, *arguments)
    outputs = {"logits": np.asarray(logits)} | _moved(before, _probes(state[0]))
    latest = [state]

    def call():
        latest[0], logits = run(latest[0], *arguments)
        return latest[0], logits

    arrays = theirs | {"images": images, "labels": labels}
    return Work(call, setting.batch, outputs, arrays, ((1, run),))


def _probes(params: Any) -> Arrays:
    """A few parameters from the first layer to the last, copied."""
    at = {
        "stem": params["conv_stem"]["kernel"],
        "depthwise": params["blocks_1"]["depthwise_conv"]["kernel"],
        "norm": params["blocks_1"]["bn1"]["scale"],
        "head": params["conv_head"]["kernel"],
        "classifier": params["fc"]["kernel"],
    }
    return {name: np.array(value) for name, value in at.items()}


def _moved(before: Arrays, after: Arrays) -> Arrays:
    return {f"update of {name}": after[name] - before[name] for name in before}


def _generator_config(setting: Setting) -> dict:
    return {"resolution": setting.resolution, "channel_base": setting.channel_base}


def _generator(setting: Setting) -> tuple[inversion.Inverter, dict, Arrays]:
    """A generator, as an inverter whose encoder is never called; its variables; and the peer's variables."""
    configs = _inverter_configs(setting)
    networks = inversion.build(
        {name: configs[name] for name in ("generator", "encoder")}, dtype=jnp.dtype(setting.dtype)
    )
    z = jnp.zeros((1, networks.generator.config.z_dim))
    variables = random_variables(jax.eval_shape(networks.generator.init, jax.random.key(0), z))
    return networks, jax.device_put({"generator": variables}), _flat("generator", variables)


def _flat(prefix: str, tree: Any) -> Arrays:
    return {f"{prefix}/{path}": value for path, value in flax.traverse_util.flatten_dict(tree, sep="/").items()}


def stylegan2_synthesis(setting: Setting) -> Work:
    """Images from latents in W."""
    networks, variables, theirs = _generator(setting)
    w = _normal(1, setting.batch, networks.generator.config.w_dim)
    arguments = variables, jnp.asarray(w)

    def synthesize(variables, w):
        return networks.generator.apply(variables["generator"], w, method=Generator.synthesize)

    run = _compile(synthesize, *arguments)
    return _work(run, arguments, setting.batch, lambda image: {"image": image}, theirs | {"w": w})


def latent_pgd(setting: Setting) -> Work:
    """Only the attack: projected gradient ascent in W through G and the detector, from the centre of the ball."""
    module, detector, theirs = _detector(setting)
    networks, generator, more = _generator(setting)
    w = _normal(1, setting.batch, networks.generator.config.w_dim)
    attack = Attack(epsilon=EPSILON, steps=setting.attack_steps, random_start=False)
    arguments = detector, generator, jnp.asarray(w)

    def run(detector, generator, w):
        def objective(delta):
            image = fit(networks.render(generator, w + delta), setting.pixels)
            return _margin(module.apply(detector, image).logits)

        return ascend(objective, jax.random.split(jax.random.key(0), setting.batch), w.shape[1:], attack)

    run = _compile(run, *arguments)
    work = _work(run, arguments, setting.batch, lambda delta: {"delta": delta}, theirs | more | {"w": w})
    return dataclasses.replace(work, programs=((setting.attack_steps, run),))


def _inverter_configs(setting: Setting) -> dict[str, dict]:
    """The setting's G, with the default encoder and HyperInverter of ``configs/inversion.py``."""
    trunk = {"stem": 16, "stages": ((32, 1), (64, 1), (128, 2)), "se_reduction": 16}
    encoder = {"trunk": trunk, "input_size": 32, "w_dim": 512, "pool": "flatten"}
    hyper = {"trunk": trunk, "input_size": 32, "width": 64, "regressor": 32, "hidden": 38}
    hyper |= {"instance_norm": False, "residual_init": True}
    return {"generator": _generator_config(setting), "encoder": encoder, "hyper": hyper}


def adv_step(setting: Setting) -> Work:
    """Algorithm 1 with the trainer's compiled step: invert with HyperInverter, attack in W, one SAM update."""
    configs = _inverter_configs(setting)
    networks = inversion.build(configs)
    key, image = jax.random.key(0), jnp.zeros((1, setting.resolution, setting.resolution, 3))
    shapes = {
        "generator": jax.eval_shape(networks.generator.init, key, jnp.zeros((1, 512))),
        "encoder": jax.eval_shape(networks.encoder.init, key, image),
        "hyper": jax.eval_shape(networks.hyper.init, key, image, image),
    }
    drawn = {name: random_variables(shape) for name, shape in shapes.items()}
    with tempfile.TemporaryDirectory() as folder:
        inversion.save(folder, configs, drawn, np.float32)
        task = DetectorTask(adv_config(setting, folder))
    images = _images(setting)
    mesh = parallel.make_mesh(1)
    state = parallel.compile_init(task.init, mesh)(0, task.start)
    _, variables, theirs = _detector(setting)
    state = parallel.put(state.replace(variables=variables), mesh)
    batch, frozen = parallel.put_batch({"image": images}, mesh), parallel.put(task.frozen, mesh)
    before = _probes(state.variables["params"])
    run = parallel.compile_step(task.step, mesh).lower(state, batch, frozen).compile()
    state, metrics = run(state, batch, frozen)
    outputs = _moved(before, _probes(state.variables["params"]))
    outputs |= {name: np.asarray(value, np.float32) for name, value in metrics.items() if name.startswith("p_fake")}
    latest = [state]

    def call():
        latest[0], metrics = run(latest[0], batch, frozen)
        return latest[0], metrics

    arrays = theirs | {"images": images}
    for name, tree in drawn.items():
        arrays |= _flat(name, tree)
    return Work(call, setting.batch, outputs, arrays, ((1, run),))


def adv_config(setting: Setting, inverter: str) -> ConfigDict:
    """The config of ``DetectorTask``: ``configs/adv.py:paper`` on procedural faces, without any random draw."""
    latent = {
        "inverter": inverter,
        "space": "w",
        "render": "full",
        "remat": setting.remat,
        "dtype": setting.dtype,
        "attack": {"epsilon": EPSILON, "steps": setting.attack_steps, "random_start": False},
    }
    people = {"identities": {"train": setting.batch, "val": 2, "test": 2}, "per_identity": 1, "seed": 0}
    reading = {"workers": 0, "frames": 0, "max_unusable": 0.0}
    overrides = NO_DROPOUT | {"remat": setting.remat}
    detector = {"name": setting.detector, "overrides": overrides, "weights": "", "sync_batch_stats": False}
    optimizer = {"name": "sgd", "learning_rate": LEARNING_RATE, "momentum": MOMENTUM, "b2": 0.99, "weight_decay": 0.0}
    sam = {"rho": RHO, "adaptive": False, "batch_stats": "first"}
    schedule = {"warmup": 0.0, "decay_after": 0.75, "staircase": {"every": 0, "factor": 0.1, "times": 1}}
    return ConfigDict(
        {
            "seed": 0,
            "steps": 1000,
            "log_every": 1,
            "batch_size": setting.batch,
            "data": {"source": "facesim", "size": 32} | people | reading,
            "detector": detector | {"dtype": setting.dtype},
            "forgery": {"mix": {"latent": 1.0}, "latent": latent},
            "evaluation": {"split": "test", "limit": 2, "seed": 0, "skip": (), "forgeries": {}},
            "losses": {"cross_entropy": {"weight": 1.0}},
            "objective": {"mode": "joint", "lam": 1.0, "turn": "step", "trainable": ("*",), "stages": ()},
            "optimizer": optimizer | schedule | {"average": 0.0, "sam": sam},
        }
    )


def input_pipeline(setting: Setting) -> Work:
    """Stored faces -> read, forged, augmented, as shuffled batches on the device; one worker process per core."""
    make = make_row(setting)
    count, mesh = max(1, setting.faces // setting.batch), parallel.make_mesh(1)
    stages = _stages(make, setting, mesh)
    batches = pipeline.train_batches(
        make.source, setting.batch, 0, make.slots, make.augment, workers=os.cpu_count() or 1
    )

    def draw():
        return [parallel.put_batch(next(batches), mesh) for _ in range(count)][-1]

    # Drops the batches that were read ahead during the peer's turn.
    ahead = 4 * (os.cpu_count() or 1)
    images = 2 * count * setting.batch
    return Work(draw, images, stages=stages, prepare=lambda: [next(batches) for _ in range(ahead)])


def _stages(make: MakeRow, setting: Setting, mesh: jax.sharding.Mesh) -> dict[str, float]:
    """Seconds per pair of face and fake for each part of the work, on one core."""
    spent = dict.fromkeys(("read", "forge", "augment", "batch"), 0.0)
    cv2.setNumThreads(1)
    make((0, 0), np.random.default_rng(0))
    stack, count, augment = [], len(make.source), _Timed(make.augment)
    timed = dataclasses.replace(make, augment=augment)
    for index in range(count):
        augment.seconds = 0.0
        start = time.perf_counter()
        example = make.source[index]
        read = time.perf_counter()
        stack.append(timed.make(example, index, np.random.default_rng(index), make.slots[0]))
        made = time.perf_counter()
        if len(stack) == setting.batch or index == count - 1:
            jax.block_until_ready(parallel.put_batch(rows.stack(stack), mesh))
            stack = []
        parts = read - start, made - read - augment.seconds, augment.seconds, time.perf_counter() - made
        for name, seconds in zip(spent, parts, strict=True):
            spent[name] += seconds / count
    return spent


class _Timed:
    """A transform that measures its own run time in seconds."""

    def __init__(self, transform: rows.Transform):
        self.transform, self.seconds = transform, 0.0

    def __call__(self, *arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return self.transform(*arguments)
        finally:
            self.seconds += time.perf_counter() - start


def _alone(call: Callable[[], Any], figures: dict[str, float]) -> Work:
    """Of what has no peer in PyTorch."""
    return Work(call, 1, figures=figures)


BENCHMARKS: dict[str, Callable[[Setting], Work]] = {
    "b4_forward": b4_forward,
    "b4_input_gradient": b4_input_gradient,
    "b4_sam_step": b4_sam_step,
    "lite0_sam_step": lambda setting: b4_sam_step(lite(setting)),
    "stylegan2_synthesis": stylegan2_synthesis,
    "latent_pgd": latent_pgd,
    "adv_step": adv_step,
    "input_pipeline": input_pipeline,
    "predict": lambda setting: Work(*files.predict(setting)),  # an image per second is a file per second
    "face_search": lambda setting: _alone(*groups.face_search()),
    "scaling": lambda setting: _alone(*scaling.scaling(setting)),
}
