"""The held-out tests of a detector: real faces against every forgery that can be made of them. Out: Findings.

Blended swaps and self-blended images always, and what else the detector was trained on, of a mixture each part by
itself as well; with an inversion pair also its reconstructions, attacked and not.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fdetect_jax.data import pipeline
from fdetect_jax.data.forgeries import GIVEN, HOST_FORGERIES, LOOSE, make_host_forgery
from fdetect_jax.data.mixture import Mixture
from fdetect_jax.data.pipeline import HostForgery
from fdetect_jax.data.sbi import SelfBlend
from fdetect_jax.data.source import Source
from fdetect_jax.data.sources import make_source
from fdetect_jax.evaluation.gallery import Gallery, difference, framed
from fdetect_jax.evaluation.metrics import Test, psnr
from fdetect_jax.evaluation.reconstruction import to_bytes
from fdetect_jax.forgery import FORGERIES, make_forgery
from fdetect_jax.train.task import Findings
from fdetect_jax.types import FAKE, REAL, score, to_unit

TITLES = {
    "gan_inverted": "GAN-inverted faces",
    "adversarial": "Latent adversaries",
    "swap": "Blended swaps",
    "sbi": "Self-blended images",
    "fwa": "Warping artefacts",
    GIVEN: "The data's own fakes",
}
_SHOWN = 8

Classifier = Callable[[Any], Callable[[jax.Array], jax.Array]]


class HeldOut:
    """Built from a config before training, so that what is missing shows early.

    judge: the attack that ``evaluation.forgery`` names, or None.
    """

    def __init__(self, config: ConfigDict):
        self.config, self.options = config, config.evaluation
        self.judge = make_forgery(self.options.forgery) if self.options.forgery.kind in FORGERIES else None
        self.faces = self.loose = make_source(config.data, self.options.split)
        if self.faces.recipe is not None and self.faces.recipe.training_margins is not None:
            self.loose = make_source(config.data, self.options.split, loose=True)
        self.parts = self.faces.parts if isinstance(self.faces, Mixture) else ()
        for name, source in [(f".parts.{part.name}", part.source) for part in self.parts] or [("", self.faces)]:
            first = source[0]["identity"]
            if all(source[i]["identity"] == first for i in range(1, len(source))):
                raise ValueError(
                    f"data{name}: found one person in split {self.options.split!r}, wanted two to swap faces between"
                )
        own = [config.forgery.kind] if config.forgery.kind in (*HOST_FORGERIES, GIVEN) else []
        self.kinds = [*dict.fromkeys(["swap", "sbi", *own])]

    def evaluate(self, variables: Any, classifier: Classifier, compile_eval: Callable, show: Callable) -> Findings:
        """variables: the detector's. classifier: (variables) -> (images -> logits). The rest as ``Task.evaluate``."""

        def pairs(variables, batch):
            classify = classifier(variables)
            return {name: score(classify(to_unit(batch[name]))) for name in ("image", "forged")}

        pairs = compile_eval(pairs)
        tests, figures, gallery = [], {}, None
        for kind in self.kinds:
            found = _rows(self._batches(kind), lambda batch: batch | pairs(variables, batch))
            tests += self._tests(kind, found)
        show(f"scored {len(found['image'])} held-out faces")
        if self.judge is not None:
            attacks, figures, gallery = self._attacked(variables, classifier, compile_eval)
            tests = [*attacks, *tests]
        if self.config.forgery.kind in self.kinds or gallery is None:
            gallery = self._gallery(lambda batch: pairs(variables, batch))
        return Findings(tuple(tests), figures, gallery)

    def _source(self, kind: str) -> Source:
        return self.loose if kind in LOOSE else self.faces

    def _forgery(self, kind: str) -> HostForgery:
        options = self.config.forgery if kind == self.config.forgery.kind else ConfigDict({"kind": kind})
        return make_host_forgery(options, self.config.data, self.options.split, self.faces.recipe, False)

    def _tests(self, kind: str, found: dict[str, np.ndarray]) -> list[Test]:
        """Of all faces and, of a mixture, of each part that has faces among them."""
        tests = [_test(kind, TITLES[kind], found["image"], found["forged"])]
        for number, part in enumerate(self.parts):
            own = found["part"] == number
            if own.any():
                title = f"{TITLES[kind]}: {part.name}"
                tests.append(_test(f"{kind}/{part.name}", title, found["image"][own], found["forged"][own]))
        return tests

    def _batches(self, kind: str | None) -> Iterator[dict]:
        source, forgery = (self.faces, None) if kind is None else (self._source(kind), self._forgery(kind))
        return pipeline.eval_batches(source, self.options.batch_size, self.config.seed, forgery, self.options.limit)

    def _attacked(
        self, variables: Any, classifier: Classifier, compile_eval: Callable
    ) -> tuple[list[Test], dict[str, float], Gallery]:
        def attack(frozen, batch):
            images, classify = to_unit(batch["image"]), classifier(frozen["detector"])
            keys = jax.vmap(jax.random.key)(batch["row"])
            forged = self.judge.forge(keys, classify, images, frozen["forgery"])
            views = {"real": images, "reconstruction": forged.reconstruction, "adversary": forged.image}
            return views | {f"p/{name}": score(classify(image)) for name, image in views.items()}

        attack, frozen = compile_eval(attack), {"detector": variables, "forgery": self.judge.frozen}
        rows = itertools.count(step=self.options.batch_size)

        def run(batch):
            batch["row"] = next(rows) + np.arange(self.options.batch_size, dtype=np.uint32)
            found = attack(frozen, batch)
            return {name: found[name] if name.startswith("p/") else to_bytes(found[name]) for name in found}

        found = _rows(self._batches(None), run)
        scores = {name: found.pop(f"p/{name}") for name in ("real", "reconstruction", "adversary")}
        kinds = {"gan_inverted": "reconstruction", "adversarial": "adversary"}
        tests = [_test(name, TITLES[name], scores["real"], scores[kind]) for name, kind in kinds.items()]
        figures = {
            "reconstruction_psnr": float(np.mean(psnr(found["real"] / 255.0, found["reconstruction"] / 255.0))),
            "p_fake/reconstruction": float(scores["reconstruction"].mean()),
            "p_fake/adversary": float(scores["adversary"].mean()),
        }
        columns = {name: views[:_SHOWN] for name, views in found.items()}
        columns["difference ×8"] = difference(columns["reconstruction"], columns["adversary"])
        return tests, figures, Gallery(columns, {name: values[:_SHOWN] for name, values in scores.items()})

    def _gallery(self, judge: Callable[[dict], dict]) -> Gallery:
        """How the fakes that it was trained on are made, step by step where there are steps to show."""
        kind = self.config.forgery.kind if self.config.forgery.kind in self.kinds else self.kinds[0]
        source, forgery, columns = self._source(kind), self._forgery(kind), defaultdict(list)
        for i in range(min(_SHOWN, self.options.batch_size, len(source))):
            rng, face = np.random.default_rng((self.config.seed, i)), source[i]
            if isinstance(forgery, SelfBlend):
                pictures, triple = forgery.stages(rng, face)
                pictures = {"loose crop": face["image"], **dataclasses.asdict(pictures)}
            else:
                triple = forgery(rng, face, lambda i=i: source[(i + 1) % len(source)])
                pictures = {"mask": triple.mask}
            for name, picture in (pictures | {"real": triple.real, "fake": triple.fake}).items():
                columns[name].append(framed(picture, source.size))
        columns = {name: np.stack(pictures) for name, pictures in columns.items()}
        count, padding = len(columns["real"]), np.zeros(self.options.batch_size, int)
        padding[:count] = np.arange(count)
        found = judge({"image": columns["real"][padding], "forged": columns["fake"][padding]})
        scores = {"real": found["image"], "fake": found["forged"]}
        return Gallery(columns, {name: np.asarray(values)[:count] for name, values in scores.items()})


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
