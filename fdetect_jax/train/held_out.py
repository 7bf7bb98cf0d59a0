"""The held-out tests of a detector: real faces against every forgery that can be made of them. Out: Findings.

Blended swaps and self-blended images always, and what else the detector was trained on, of a mixture each part by
itself as well; with an inversion pair also its reconstructions, attacked and not.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
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
from fdetect_jax.evaluation.calibration import notes_of
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
Run = Callable[[dict], dict]  # a batch -> what was compiled for it


class HeldOut:
    """Built from a config before training, so that what is missing shows early.

    split: of the faces; None: ``evaluation.split``. judge: the attack that ``evaluation.forgery`` names, or None.
    """

    def __init__(self, config: ConfigDict, split: str | None = None):
        self.config, self.options, self.split = config, config.evaluation, split or config.evaluation.split
        self.judge = make_forgery(self.options.forgery) if self.options.forgery.kind in FORGERIES else None
        self.faces = self.loose = make_source(config.data, self.split)
        if self.faces.recipe is not None and self.faces.recipe.training_margins is not None:
            self.loose = make_source(config.data, self.split, loose=True)
        self.parts = self.faces.parts if isinstance(self.faces, Mixture) else ()
        for name, source in [(f".parts.{part.name}", part.source) for part in self.parts] or [("", self.faces)]:
            first = source[0]["identity"]
            if all(source[i]["identity"] == first for i in range(1, len(source))):
                raise ValueError(
                    f"data{name}: found one person in split {self.split!r}, wanted two to swap faces between"
                )
        own = [config.forgery.kind] if config.forgery.kind in (*HOST_FORGERIES, GIVEN) else []
        self.kinds = [*dict.fromkeys(["swap", "sbi", *own])]

    def evaluate(self, variables: Any, classifier: Classifier, compile_eval: Callable, show: Callable) -> Findings:
        """variables: the detector's. classifier: (variables) -> (images -> logits). The rest as ``Task.evaluate``."""

        def pairs(variables, batch):
            classify = classifier(variables)
            return {name: score(classify(to_unit(batch[name]))) for name in ("image", "forged")}

        def attack(frozen, batch):
            images, classify = to_unit(batch["image"]), classifier(frozen["detector"])
            keys = jax.vmap(jax.random.key)(batch["row"])
            forged = self.judge.forge(keys, classify, images, frozen["forgery"])
            views = {"real": images, "reconstruction": forged.reconstruction, "adversary": forged.image}
            return views | {f"p/{name}": score(classify(image)) for name, image in views.items()}

        pairs, attack = partial(compile_eval(pairs), variables), partial(compile_eval(attack), self._frozen(variables))
        tests, figures, gallery = [], {}, None
        for kind in self.kinds:
            tests += self._paired(kind, pairs)
        show(f"scored {tests[0].labels.size // 2} held-out faces")
        if self.judge is not None:
            attacks, figures, gallery = self._attacked(attack)
            tests = [*attacks, *tests]
        if self._trained_on in self.kinds or gallery is None:
            gallery = self._gallery(pairs)
        return Findings(tuple(tests), figures, gallery, self._calibrated(pairs, attack, show))

    @property
    def _trained_on(self) -> str:
        return self.config.forgery.kind

    def _frozen(self, variables: Any) -> dict[str, Any]:
        return {"detector": variables, "forgery": self.judge.frozen if self.judge else {}}

    def _calibrated(self, pairs: Run, attack: Run, show: Callable[[str], None]) -> dict[str, str]:
        """A note of the calibration on the validation split, against the fakes it was trained on or those that come
        nearest; none, and a line that says so, where there is no such split or the detector has learned nothing."""
        try:
            validation = HeldOut(self.config, "val")
        except ValueError as error:
            show(f"not calibrated: {error}")
            return {}
        if self.judge is not None and self._trained_on not in self.kinds:
            test = validation._attacked(attack)[0][-1]
        else:
            test = validation._paired(self._trained_on if self._trained_on in self.kinds else "swap", pairs)[0]
        notes = notes_of(test.scores, test.labels, f"validation split, {test.title[:1].lower()}{test.title[1:]}")
        show("calibrated on the validation split" if notes else "not calibrated: no better than chance")
        return notes

    def _paired(self, kind: str, pairs: Run) -> list[Test]:
        """The tests of a host forgery."""
        return self._tests(kind, _rows(self._batches(kind), lambda batch: batch | pairs(batch)))

    def _source(self, kind: str) -> Source:
        return self.loose if kind in LOOSE else self.faces

    def _forgery(self, kind: str) -> HostForgery:
        options = self.config.forgery if kind == self.config.forgery.kind else ConfigDict({"kind": kind})
        return make_host_forgery(options, self.config.data, self.split, self.faces.recipe, False)

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

    def _attacked(self, attack: Run) -> tuple[list[Test], dict[str, float], Gallery]:
        rows = itertools.count(step=self.options.batch_size)

        def run(batch):
            batch["row"] = next(rows) + np.arange(self.options.batch_size, dtype=np.uint32)
            found = attack(batch)
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

    def _gallery(self, pairs: Run) -> Gallery:
        """How the fakes that it was trained on are made, step by step where there are steps to show."""
        kind = self._trained_on if self._trained_on in self.kinds else self.kinds[0]
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
        found = pairs({"image": columns["real"][padding], "forged": columns["fake"][padding]})
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
