"""The held-out tests of a detector: real faces against every forgery that can be made of them. Out: EvaluationResult.

Every host forgery, and of a mixture each part by itself as well. With an inversion pair its reconstructions, as they
are, degraded, and attacked; with another pair, that no training sees, those of that one.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from scipy.special import logit

from fdetect_jax.data import pipeline
from fdetect_jax.data.mixture import Mixture
from fdetect_jax.data.pipeline import HostForgery
from fdetect_jax.data.source import Source
from fdetect_jax.data.sources import make_source
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation.degrade import DEGRADATIONS
from fdetect_jax.evaluation.metrics import Test, psnr
from fdetect_jax.evaluation.reconstruction import to_bytes
from fdetect_jax.forgery import FORGERIES, make_forgery
from fdetect_jax.forgery.host import CONTEXT, GIVEN, HOST_FORGERIES, host_kinds, make_host_forgery
from fdetect_jax.inference.calibration import calibrate, grouped
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.report.gallery import Gallery, difference, framed
from fdetect_jax.train.task import EvaluationResult
from fdetect_jax.types import FAKE, REAL, Outputs, score, to_unit

TITLES = {
    "gan_inverted": "GAN-inverted faces",
    "adversarial": "Latent adversaries",
    "other_generator": "Another generator's faces",
    "swap": "Blended swaps",
    "sbi": "Self-blended images",
    "fwa": "Warping artefacts",
    GIVEN: "The data's own fakes",
}
DEGRADED = (("jpeg", 40), ("blur", 1), ("resize", 0.5))  # how GAN-inverted faces and the real ones are tested again
_SHOWN = 8
_PLOTTED = 200  # embeddings of each kind

Predictor = Callable[[Any], Callable[[jax.Array], Outputs]]
Run = Callable[[dict], dict]  # a batch -> what was compiled for it


class HeldOut:
    """Built from a config before training, so that what is missing shows early.

    judge: the detector, (variables) -> (images -> Outputs). split: of the faces; None: ``evaluation.split``.
    attacker: the attack that ``evaluation.forgery`` names, or None. donor: the reconstruction that
    ``evaluation.unseen`` names, or None.
    """

    def __init__(self, config: ConfigDict, judge: Predictor, split: str | None = None):
        self.judge = judge
        self.config, self.options, self.split = config, config.evaluation, split or config.evaluation.split
        options = (self.options.forgery, self.options.unseen)
        self.attacker, self.donor = (make_forgery(one) if one.kind in FORGERIES else None for one in options)
        self.faces = self.context = make_source(config.data, self.split)
        if self.faces.recipe is not None and self.faces.recipe.training_margins is not None:
            self.context = make_source(config.data, self.split, context=True)
        self.parts = self.faces.parts if isinstance(self.faces, Mixture) else ()
        for name, source in [(f".parts.{part.name}", part.source) for part in self.parts] or [("", self.faces)]:
            first = source[0]["identity"]
            if all(source[i]["identity"] == first for i in range(1, len(source))):
                raise UserError(
                    f"data{name}: found one person in split {self.split!r}, wanted two to swap faces between"
                )
        self.own = host_kinds(config.forgery)  # those that it was trained on
        self.kinds = list(dict.fromkeys([*HOST_FORGERIES, *self.own]))

    def evaluate(self, variables: Any, compile_eval: Callable, show: Callable) -> EvaluationResult:
        """variables: the detector's. The rest as ``Task.evaluate``."""
        pairs, attack, invert = self._functions
        frozen = {"detector": variables}
        pairs = partial(compile_eval(pairs), variables)
        attack = partial(compile_eval(attack), frozen | {"forgery": self.attacker and self.attacker.frozen})
        invert = partial(compile_eval(invert), frozen | {"donor": self.donor and self.donor.frozen})
        tests, figures, gallery, embeddings = [], {}, None, {}
        if self.attacker is not None:
            found = self._attacked(attack)
            tests += [*_attack_tests(found), *self._degraded(found, pairs)]
            figures, gallery = _attack_figures(found), _attack_gallery(found)
            kinds = {"real": "real", "gan_inverted": "reconstruction", "adversarial": "adversary"}
            embeddings |= {name: found[f"e/{kind}"] for name, kind in kinds.items() if f"e/{kind}" in found}
        if self.donor is not None:
            found = _rows(self._numbered(), invert)
            tests.append(_test("other_generator", TITLES["other_generator"], found["p/image"], found["p/forged"]))
            embeddings |= _embeddings("other_generator", found)
        for kind in self.kinds:
            found = self._paired(kind, pairs)
            tests += self._tests(kind, found)
            embeddings = _embeddings(kind, found) | embeddings
        show(f"scored {tests[0].labels.size // 2} held-out faces")
        if gallery is None or (self.own and self.config.forgery.kind not in FORGERIES):
            gallery = self._gallery(pairs)
        embeddings = {name: np.asarray(rows[:_PLOTTED], np.float32) for name, rows in embeddings.items()}
        return EvaluationResult(tuple(tests), figures, gallery, self._calibrated(pairs, attack, show), embeddings)

    @cached_property
    def _functions(self) -> tuple[Callable, Callable, Callable]:
        """What is compiled: of pairs of a face and its fake, of faces to attack, and of faces for the donor."""
        judge = self.judge

        def judged(outputs: dict[str, Outputs]) -> dict[str, jax.Array]:
            found = {f"p/{name}": score(one.logits) for name, one in outputs.items()}
            return found | {f"e/{name}": one.embedding for name, one in outputs.items() if one.embedding is not None}

        def pairs(variables, batch):
            look = judge(variables)
            return judged({name: look(to_unit(batch[name])) for name in ("image", "forged")})

        def attack(frozen, batch):
            images, look = to_unit(batch["image"]), judge(frozen["detector"])
            keys = jax.vmap(jax.random.key)(batch["row"])
            forged = self.attacker.forge(keys, lambda x: look(x).logits, images, frozen["forgery"])
            views = {"real": images, "reconstruction": forged.reconstruction, "adversary": forged.image}
            return views | judged({name: look(image) for name, image in views.items()})

        def invert(frozen, batch):
            images, look = to_unit(batch["image"]), judge(frozen["detector"])
            keys = jax.vmap(jax.random.key)(batch["row"])
            made = self.donor.forge(keys, lambda x: look(x).logits, images, frozen["donor"]).image
            return judged({"image": look(images), "forged": look(made)})

        return pairs, attack, invert

    def _calibrated(self, pairs: Run, attack: Run, show: Callable[[str], None]) -> dict[str, str]:
        """A note of the calibration on the validation split, against the fakes it was trained on or those that come
        nearest; none, and a line that says so, where there is no such split or the detector has learned nothing."""
        if not self.options.calibrate:
            return {}
        try:
            validation = HeldOut(self.config, self.judge, "val")
        except ValueError as error:
            show(f"not calibrated: {error}")
            return {}
        kinds = self.own or (() if self.attacker else ("swap",))
        tests = [validation._tests(kind, validation._paired(kind, pairs))[0] for kind in kinds]
        if self.attacker is not None and self.config.forgery.kind in FORGERIES:
            tests.append(_attack_tests(validation._attacked(attack))[-1])
        labels, scores = (np.concatenate([getattr(test, of) for test in tests]) for of in ("labels", "scores"))
        data = " and ".join(test.title[:1].lower() + test.title[1:] for test in tests)
        margins = logit(np.clip(scores.astype(np.float64), 2.0**-24, 1 - 2.0**-24))
        try:
            found = calibrate(*grouped(margins, labels, np.arange(len(labels))), Protocol(), f"validation split, {data}")
        except UserError as error:
            show(f"not calibrated: {error}")
            return {}
        show("calibrated on the validation split")
        return found.to_metadata()

    def _paired(self, kind: str, pairs: Run) -> dict[str, np.ndarray]:
        """The faces and their fakes of a host forgery, scored."""
        return _rows(self._batches(kind), lambda batch: batch | pairs({name: batch[name] for name in _AS_PAIRS}))

    def _source(self, kind: str) -> Source:
        return self.context if kind in CONTEXT else self.faces

    def _forgery(self, kind: str) -> HostForgery:
        options = self.config.forgery if kind == GIVEN else ConfigDict({"kind": kind})
        return make_host_forgery(options, self.config.data, self.split, self.faces.recipe, False)

    def _tests(self, kind: str, found: dict[str, np.ndarray]) -> list[Test]:
        """Of all faces and, of a mixture, of each part that has faces among them."""
        tests = [_test(kind, TITLES[kind], found["p/image"], found["p/forged"])]
        for number, part in enumerate(self.parts):
            own = found["part"] == number
            if own.any():
                title = f"{TITLES[kind]}: {part.name}"
                tests.append(_test(f"{kind}/{part.name}", title, found["p/image"][own], found["p/forged"][own]))
        return tests

    def _batches(self, kind: str | None) -> Iterator[dict]:
        source, forgery = (self.faces, None) if kind is None else (self._source(kind), self._forgery(kind))
        return pipeline.eval_batches(source, self.options.batch_size, self.config.seed, forgery, self.options.limit)

    def _numbered(self) -> Iterator[dict]:
        """Batches of faces with ``row`` (B,), the numbers that key what is drawn for them."""
        rows = itertools.count(step=self.options.batch_size)
        for batch in self._batches(None):
            yield batch | {"row": next(rows) + np.arange(self.options.batch_size, dtype=np.uint32)}

    def _attacked(self, attack: Run) -> dict[str, np.ndarray]:
        """The faces, their reconstructions and their adversaries, uint8 and scored."""

        def run(batch):
            found = attack(batch)
            return {name: found[name] if "/" in name else to_bytes(found[name]) for name in found}

        return _rows(self._numbered(), run)

    def _degraded(self, found: dict[str, np.ndarray], pairs: Run) -> Iterator[Test]:
        """GAN-inverted faces against real ones, both under each of ``DEGRADED``."""
        for name, value in DEGRADED:
            one, rng = DEGRADATIONS[name], np.random.default_rng(self.config.seed)
            images = {as_: np.stack(one.apply(found[of], value, rng)) for as_, of in _AS_PAIRS.items()}
            scored = _rows(self._padded(images), pairs)
            title = f"{TITLES['gan_inverted']}, {one.named(value)}"
            yield _test(f"gan_inverted/{name}_{value:g}", title, scored["p/image"], scored["p/forged"])

    def _padded(self, images: dict[str, np.ndarray]) -> Iterator[dict]:
        """(N, …) images as batches like those of ``pipeline.eval_batches``."""
        count, size = len(next(iter(images.values()))), self.options.batch_size
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)
            weight = (np.arange(start, start + size) < count).astype(np.float32)
            yield {name: values[rows] for name, values in images.items()} | {"weight": weight}

    def _gallery(self, pairs: Run) -> Gallery:
        """How the fakes that it was trained on are made, step by step where there are steps to show."""
        kind = self.own[0] if self.own else self.kinds[0]
        source, forgery, columns = self._source(kind), self._forgery(kind), defaultdict(list)
        for i in range(min(_SHOWN, self.options.batch_size, len(source))):
            rng, face = np.random.default_rng((self.config.seed, i)), source[i]
            if hasattr(forgery, "stages"):
                pictures, forged = forgery.stages(rng, face)
                pictures = {"context crop": face["image"], **dataclasses.asdict(pictures)}
            else:
                forged = forgery(rng, face, lambda i=i: source[(i + 1) % len(source)])
                pictures = {"mask": forged.mask}
            for name, picture in (pictures | {"real": forged.real, "fake": forged.fake}).items():
                columns[name].append(framed(picture, source.size))
        columns = {name: np.stack(pictures) for name, pictures in columns.items()}
        found = _rows(self._padded({"image": columns["real"], "forged": columns["fake"]}), pairs)
        return Gallery(columns, {"real": found["p/image"], "fake": found["p/forged"]})


_AS_PAIRS = {"image": "real", "forged": "reconstruction"}


def _attack_tests(found: dict[str, np.ndarray]) -> list[Test]:
    kinds = {"gan_inverted": "reconstruction", "adversarial": "adversary"}
    return [_test(name, TITLES[name], found["p/real"], found[f"p/{kind}"]) for name, kind in kinds.items()]


def _attack_figures(found: dict[str, np.ndarray]) -> dict[str, float]:
    return {
        "reconstruction_psnr": float(np.mean(psnr(found["real"] / 255.0, found["reconstruction"] / 255.0))),
        "p_fake/reconstruction": float(found["p/reconstruction"].mean()),
        "p_fake/adversary": float(found["p/adversary"].mean()),
    }


def _attack_gallery(found: dict[str, np.ndarray]) -> Gallery:
    names = ("real", "reconstruction", "adversary")
    columns = {name: found[name][:_SHOWN] for name in names}
    columns["difference ×8"] = difference(columns["reconstruction"], columns["adversary"])
    return Gallery(columns, {name: found[f"p/{name}"][:_SHOWN] for name in names})


def _embeddings(kind: str, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"real": found["e/image"], kind: found["e/forged"]} if "e/image" in found else {}


def _rows(batches: Iterator[dict], function: Callable[[dict], dict]) -> dict[str, np.ndarray]:
    """What ``function`` makes of the batches, joined, without the rows that only pad."""
    found = defaultdict(list)
    for batch in batches:
        keep = batch.pop("weight") > 0
        for name, values in function(batch).items():
            found[name].append(np.asarray(values)[keep])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _test(name: str, title: str, real: np.ndarray, fake: np.ndarray) -> Test:
    labels = np.concatenate([np.full(len(real), REAL), np.full(len(fake), FAKE)])
    return Test(name, title, labels, np.concatenate([real, fake]))
