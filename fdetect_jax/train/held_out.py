"""The held-out tests of a detector: real faces against every applicable forgery. Out: EvaluationResult.

Tested are every registered host forgery that the data allow (for a mixture also on each part separately), every
device forgery in ``evaluation.forgeries`` with its tested stages, and the GAN-inverted faces once more, degraded.
Where a detector has a mask, it is compared with that of every host forgery that gives one.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fdetect_jax import parallel
from fdetect_jax.data import pipeline
from fdetect_jax.data.cached import Cached
from fdetect_jax.data.mixture import Mixture
from fdetect_jax.data.rows import TARGET, Slot
from fdetect_jax.data.source import Source
from fdetect_jax.data.sources import CACHED_BYTES, make_source
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation.degrade import DEGRADATIONS
from fdetect_jax.evaluation.table import Scored, Test, pairs
from fdetect_jax.forgery import FORGERIES, DeviceForgery, Entry, Mix, find_entry, make_forgery
from fdetect_jax.inference.calibration import Calibration, FileFaces, calibrate, grouped
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scoring import (
    LOGITS,
    MAP,
    MARGIN,
    PICTURE,
    Detect,
    collect,
    score_faces,
    score_forged,
    score_head,
    score_pairs,
)
from fdetect_jax.parallel import Devices
from fdetect_jax.report.gallery import Gallery
from fdetect_jax.train.classed import FINGERPRINTS, Classed, fingerprint_gallery, fingerprints_in
from fdetect_jax.train.held_out_rows import SHOWN, degrade, device_gallery, embeddings_of, figures_of, p_fake
from fdetect_jax.train.host_gallery import host_gallery
from fdetect_jax.train.left_out import left_out_tests
from fdetect_jax.train.located import TARGETS, localisation_of, located, mask_gallery
from fdetect_jax.train.shortcuts import shortcut_figures
from fdetect_jax.train.task import EvaluationResult
from fdetect_jax.types import UNKNOWN, kind_number

INVERTED = "gan_inverted"
DEGRADED = (("jpeg", 40), ("blur", 1), ("resize", 0.5))  # degradations of GAN-inverted and real faces
_PLOTTED = 200  # embeddings of each kind
_WHERE = "evaluation.forgeries"
Run = Callable[[dict], dict]  # a batch -> rows, compiled


def check_tests(options: ConfigDict) -> None:
    """Checks ``config.evaluation.forgeries``. Raises UserError that names the field."""
    for name, fields in options.forgeries.items():
        if name in options.skip:
            continue
        entry = find_entry(name, fields, _WHERE)
        if entry.spec.place != "device":
            found = f"found the host forgery {entry.forgery!r}"
            raise UserError(f"{entry.path}: {found}, wanted none: all host forgeries are tested")
        entry.check()
        if entry.options.get("space") == "z":
            raise UserError(
                f"{entry.path}.space: found 'z', wanted 'w' or 'w+': in z there is no reconstruction of a face"
            )


def _trained(config: ConfigDict, name: str) -> Entry:
    """The forgery of an entry of ``config.forgery``, or the registered one of a name without an entry."""
    return find_entry(name, config.forgery.get(name, {}))


@dataclasses.dataclass(frozen=True)
class DeviceTest:
    """A device forgery to test, of ``evaluation.forgeries``."""

    entry: Entry
    forgery: DeviceForgery
    run: Callable[[Any, dict], dict]

    @property
    def tests(self) -> Mapping[str, tuple[str, str]]:
        """Stage -> name and title of a test."""
        return self.entry.spec.tests or {"image": (self.entry.name, self.entry.spec.title)}


class HeldOut:
    """Built from a config before training, so that errors in the config appear early.

    detect: (variables) -> (images -> Outputs). mix: the forgeries that the detector is trained on.
    """

    def __init__(self, config: ConfigDict, detect: Detect, mix: Mix):
        self.config, self.options, self.mix, self.detect = config, config.evaluation, mix, detect
        self.faces = _Faces(config, self.options.split)
        skipped = set(self.options.skip)
        self.slots = dict(self._host_slots(skipped))
        self.devices = list(self._device_tests(skipped))
        self._pairs, self._alone = score_pairs(detect), score_faces(detect)
        self._own: dict[str, Callable[[Any, dict], dict]] = {}

    def _host_slots(self, skipped: set[str]) -> Iterator[tuple[str, Slot]]:
        """The tested host forgeries, each with the slot that makes its fakes.

        One that the split does not allow (no dataset fakes) is skipped, unless the detector is trained on it.
        """
        for name in (*FORGERIES, *(name for name in self.mix.weights if name not in FORGERIES)):
            spec = _trained(self.config, name).spec
            if spec.place != "host" or name in skipped or spec.allows(self.config.data):
                continue
            try:
                yield name, self.faces.slot(self.config, name)
            except UserError:
                if name in self.mix.weights:
                    raise

    def _device_tests(self, skipped: set[str]) -> Iterator[DeviceTest]:
        named = dict(self.options.forgeries.items())
        free = [name for name, spec in FORGERIES.items() if spec.place == "device" and not spec.options]
        for name, fields in (named | {name: {} for name in free if name not in named}).items():
            if name in skipped:
                continue
            made = make_forgery(name, fields, self.config.data, self.options.split, self.faces.recipe, False)
            run = score_forged(self.detect, made, self.options.seed)
            yield DeviceTest(find_entry(name, fields, _WHERE), made, run)

    def evaluate(self, variables: Any, devices: Devices, show: Callable[[str], None]) -> EvaluationResult:
        """variables: of the detector, on the devices. Other arguments as for ``Task.evaluate``."""
        run = _Runs(variables, devices)
        tests, figures, gallery, embeddings = [], {}, None, {}
        classed = Classed(self.config)
        names: set[str] = set()
        for one in self.devices:
            wanted = {stage: test for stage, test in one.tests.items() if test[0] not in names}
            names |= {name for name, _ in wanted.values()}
            inverted = next((stage for stage, (name, _) in wanted.items() if name == INVERTED), None)
            found = self.faces.collected(
                self.faces.numbered(self.options),
                run.forged(one.run, one.forgery),
                SHOWN if inverted is None else None,
            )
            for stage, (name, title) in wanted.items():
                tests += self._tests(name, title, found[MARGIN + "real"], found[MARGIN + stage], one.entry.forgery)
                classed.add(name, one.entry, found, stage)
                embeddings |= embeddings_of(name, found, stage)
            if inverted is not None:
                tests += self._degraded(found, inverted, run)
                figures |= figures_of(found, inverted)
            if inverted is not None or gallery is None:
                gallery = device_gallery(found)
        masks, localisation = {}, {}
        for name, slot in self.slots.items():
            found = self.faces.forged(self.options, slot, run.pairs(self._pairs), SHOWN)
            kinds = found[TARGET + "kind"]
            title = _trained(self.config, name).spec.title
            if (where := localisation_of(title, found)) is not None:
                localisation[name], masks[name] = where, mask_gallery(found)
            tests += self._tests(name, title, found[MARGIN + "real"], found[MARGIN + "image"], name, kinds)
            classed.add(name, _trained(self.config, name), found, "image", kinds)
            embeddings = embeddings_of(name, found, "image") | embeddings
        figures |= shortcut_figures(self.config, show)
        tests += left_out_tests(self.config, lambda crops: self._margins(np.stack(crops), run))
        if not tests:
            raise UserError(
                "evaluation: found no forgery to test with, wanted at least one that evaluation.skip does not name"
            )
        show(f"scored {len(self.faces.indices)} held-out faces")
        own = [name for name in self.mix.weights if name not in self.mix.device]
        if gallery is None or (own and not self.mix.device):
            gallery = self._host_gallery((own or list(self.slots))[0], run)
        embeddings = {name: np.asarray(rows[:_PLOTTED], np.float32) for name, rows in embeddings.items()}
        shown = next((masks[name] for name in (*own, *masks) if masks.get(name)), None)
        calibration, known = self._calibrated(run, show)
        drawn = self._fingerprints(variables, classed, run)
        return EvaluationResult(
            tuple(tests), figures, gallery, calibration, embeddings, classed.part(known), drawn, localisation, shown
        )

    def _fingerprints(self, variables: Any, classed: Classed, run: "_Runs") -> Gallery | None:
        """Model fingerprints, and those of some faces, of a detector that has them."""
        if (models := fingerprints_in(variables)) is None:
            return None
        faces = dict(sorted(classed.pictures.items()))
        residuals = np.zeros((0, *models.shape[:3]))
        if faces:
            images = {"image": np.concatenate(list(faces.values()))}
            residuals = self._scored(images, run.pairs(score_head(self.detect, FINGERPRINTS)))[FINGERPRINTS]
        return fingerprint_gallery(classed.names, models, faces, residuals)

    def _tests(
        self, name: str, title: str, real: np.ndarray, fake: np.ndarray, method: str, kinds: np.ndarray | None = None
    ) -> list[Test]:
        """Of all faces and, for a mixture, of each part that has faces among them."""
        kind = kind_number(FORGERIES[method].kind) if kinds is None else kinds
        units = self.faces.units(real, fake, method, kind)
        tests = [Test(name, title, units)]
        for part in self.faces.parts:
            if (own := units.source == part).any():
                tests.append(Test(f"{name}/{part}", f"{title}: {part}", units.rows(own)))
        return tests

    def _degraded(self, found: dict[str, np.ndarray], stage: str, run: "_Runs") -> Iterator[Test]:
        """GAN-inverted faces against real ones, both with each of ``DEGRADED``."""
        title = next(title for one in self.devices for name, title in one.tests.values() if name == INVERTED)
        for name, value in DEGRADED:
            one, rng = DEGRADATIONS[name], np.random.default_rng(self.options.seed)
            views = {"image": found[PICTURE + "real"], "forged": found[PICTURE + stage]}
            images = {as_: degrade(one, view, value, rng) for as_, view in views.items()}
            scored = self._scored(images, run.pairs(self._pairs))
            yield Test(
                f"{INVERTED}/{name}_{value:g}",
                f"{title}, {one.named(value)}",
                self.faces.units(
                    scored[MARGIN + "real"], scored[MARGIN + "image"], INVERTED, kind_number("entire synthesis")
                ),
            )

    def _margins(self, images: np.ndarray, run: "_Runs") -> np.ndarray:
        return self._scored({"image": images}, run.pairs(self._alone))[MARGIN + "image"]

    def _scored(self, images: dict[str, np.ndarray], run: Run) -> dict[str, np.ndarray]:
        """(N, …) images, scored; every process scores its share. Masks, which are large, are left out."""
        count = len(next(iter(images.values())))

        def without_masks(batch: dict) -> dict:
            return {name: rows for name, rows in run(batch).items() if not name.startswith(MAP)}

        return parallel.gathered(collect(self._padded(images, parallel.own_rows(count)), without_masks), count)

    def _padded(self, images: dict[str, np.ndarray], places: range) -> Iterator[dict]:
        """The images at ``places`` as batches like those of ``pipeline.eval_batches``."""
        size = self.options.batch_size
        for start in range(0, len(places), size):
            own = places[start : start + size]
            rows = np.minimum(np.arange(own.start, own.start + size), own.stop - 1)
            weight = (np.arange(size) < len(own)).astype(np.float32)
            yield {name: values[rows] for name, values in images.items()} | {"weight": weight}

    def _host_gallery(self, name: str, run: "_Runs") -> Gallery:
        def score(images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            found = self._scored(images, run.pairs(self._pairs))
            return {as_: p_fake(found[MARGIN + of]) for as_, of in (("image", "real"), ("forged", "image"))}

        slot = self.slots.get(name) or self.faces.slot(self.config, name)  # its test may be skipped
        chosen = self.faces.indices[:SHOWN]
        frames = self.config.data.frames
        spec = _trained(self.config, name).spec
        return host_gallery(self.faces.source, chosen, spec, slot, self.options.seed, frames, score)

    def _calibrated(self, run: "_Runs", show: Callable[[str], None]) -> tuple[Calibration | None, np.ndarray | None]:
        """Fits the calibration on the validation split, with fakes of the forgeries that the detector was trained on.

        Returns None and prints the reason if there is no such split or the detector has learned nothing. Also the
        logits of the split's faces, (N, K), if they were scored.
        """
        if not self.options.calibrate:
            return None, None
        logits = None
        try:
            files, labels, data, logits = self._validation(_Faces(self.config, "val"), run)
            fitted = calibrate(files, labels, Protocol(), data)
        except UserError as error:
            show(f"not calibrated: {error}")
            return None, logits
        show("calibrated on the validation split")
        return fitted, logits

    def _validation(self, faces: "_Faces", run: "_Runs") -> tuple[list[FileFaces], np.ndarray, str, np.ndarray | None]:
        """Files of validation faces and of fakes by the run's own mix, their labels, a description, and the logits."""
        parts, titles, logits = [], [], []
        for name in self.mix.weights:
            title = self.mix.specs[name].title
            titles.append(title[:1].lower() + title[1:])
            if name in self.mix.device:
                forged = run.forged(self._own_run(name), self.mix.device[name])
                found = faces.collected(faces.numbered(self.options), forged)
            else:
                found = faces.forged(self.options, faces.slot(self.config, name), run.pairs(self._pairs))
            parts.append(faces.units(found[MARGIN + "real"], found[MARGIN + "image"], name, UNKNOWN))
            logits += [found[LOGITS + of] for of in ("real", "image")[len(logits) > 0 :] if LOGITS + of in found]
        units = Scored.joined(parts)
        groups = units.group if faces.source.video else np.arange(len(units))
        data = f"validation split, {' and '.join(titles)}"
        return *grouped(units.margin, units.label, groups), data, np.concatenate(logits) if logits else None

    def _own_run(self, name: str) -> Callable[[Any, dict], dict]:
        """The scorer of the trainer's own device forgery; the test's compiled one if both have the same options."""
        entry = _trained(self.config, name)
        for one in self.devices:
            if one.entry.tested_like(entry):
                return one.run
        if name not in self._own:
            self._own[name] = score_forged(self.detect, self.mix.device[name], self.options.seed)
        return self._own[name]


class _Faces:
    """The faces of one split in an evaluation, read only once if memory allows."""

    def __init__(self, config: ConfigDict, split: str):
        self.split, frames = split, config.data.frames
        self.source: Source = make_source(config.data, split, context=True, frames=frames)
        self.recipe = self.source.recipe
        self.parts = tuple(part.name for part in self.source.parts) if isinstance(self.source, Mixture) else ()
        self.indices = pipeline.chosen_faces(self.source, config.evaluation.limit, config.evaluation.seed)
        self._sources = np.array([self._part_of(index) for index in self.indices])
        self._require_two_people()
        size = 12 * self.source.size**2 * max(1, frames)  # bytes; approximate size of a context crop
        if not self.parts and size * min(len(self.source), 2 * len(self.indices)) <= CACHED_BYTES:
            self.source = self.source if isinstance(self.source, Cached) else Cached(self.source)

    def _part_of(self, index: int) -> str:
        return self.source.parts[self.source.number(index)].name if self.parts else ""

    def _require_two_people(self) -> None:
        parts = [(f".parts.{part.name}", part.source) for part in self.source.parts] if self.parts else []
        for name, source in parts or [("", self.source)]:
            first = source[0]["identity"]
            if all(source[i]["identity"] == first for i in range(1, len(source))):
                raise UserError(
                    f"data{name}: found one person in split {self.split!r}, wanted two to swap faces between"
                )

    def units(self, real: np.ndarray, fake: np.ndarray, method: str, kind: int | np.ndarray) -> Scored:
        """The table of these faces and one fake of each, by their margins (N,)."""
        groups = np.asarray(self.source.groups)[self.indices]
        return pairs(real, fake, method=method, kind=kind, source=self._sources, group=groups)

    def batches(self, options: Mapping[str, Any], slot: Slot, targets: tuple[str, ...] = ()) -> Iterator[dict]:
        """This process's share; fakes depend on ``evaluation.seed``, not on the training's seed."""
        places = parallel.own_rows(len(self.indices))
        size, seed = options["batch_size"], options["seed"]
        return pipeline.eval_batches(self.source, self.indices, size, seed, slot, targets, places)

    def collected(self, batches: Iterator[dict], run: Run, pictures: int | None = 0) -> dict[str, np.ndarray]:
        """``scoring.collect``, of all processes."""
        found = parallel.gathered(collect(batches, run, pictures), len(self.indices))
        return {name: rows[:pictures] if name.startswith(PICTURE) else rows for name, rows in found.items()}

    def numbered(self, options: Mapping[str, Any]) -> Iterator[dict]:
        """Batches of real faces only."""
        return self.batches(options, Slot())

    def forged(self, options: Mapping[str, Any], slot: Slot, run: Run, pictures: int = 0) -> dict[str, np.ndarray]:
        """The faces and their fakes by a host forgery, scored, with the kind of each fake and what ``located`` adds."""

        def scored(batch: dict) -> dict:
            pair = {name: batch[name] for name in ("image", "forged")}
            return located(run(pair), batch) | {TARGET + "kind": batch[TARGET + "kind"]}

        return self.collected(self.batches(options, slot, ("kind", *TARGETS)), scored, pictures)

    def slot(self, config: ConfigDict, name: str) -> Slot:
        """How a host forgery makes the fakes of the tests."""
        spec, options = _trained(config, name).spec, config.forgery.get(name, {})
        forge = make_forgery(name, options, config.data, self.split, self.recipe, False)
        return Slot(forge, spec.crop == "context", spec.kind_number)


class _Runs:
    """The current detector and its frozen networks, bound to the functions compiled for the devices."""

    def __init__(self, variables: Any, devices: Devices):
        self._variables, self._devices = variables, devices

    def pairs(self, function: Callable) -> Run:
        return partial(self._devices.compile_eval(function), self._variables)

    def forged(self, function: Callable, forgery: DeviceForgery) -> Run:
        placed = {"detector": self._variables, "forgery": self._devices.place(forgery.frozen)}
        run = self._devices.compile_eval(function)
        return lambda batch: run(placed, {name: batch[name] for name in ("image", "row")})
