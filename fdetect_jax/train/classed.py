"""Gathers what a detector's classes are given in the held-out tests. In: scored faces by test. Out: ``classes_part``.

The classes are those of the terms of the loss (``Term.classes``): one for each kind of forgery or for each entry of the
mix, else real and fake.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fdetect_jax.evaluation.classes import Faces, classes_part
from fdetect_jax.forgery import Entry, entries_of
from fdetect_jax.inference.lead import limit_of
from fdetect_jax.inference.scoring import LOGITS, PICTURE
from fdetect_jax.losses.terms import find_term
from fdetect_jax.report.gallery import Gallery
from fdetect_jax.types import KINDS

FINGERPRINTS = "fingerprints"  # the parameter with model fingerprints, and the head with those of images
_TWO = ("real", "fake")
_SHOWN = 2  # faces of each class
_SPREAD = 3.0  # deviations of a fingerprint from grey to black or white


def classes_of(config: ConfigDict) -> tuple[str, ...] | None:
    """The names of the classes that a detector's loss tells apart, the first is real; None for real and fake alone."""
    by = {find_term(name).classes for name, one in config.losses.items() if one["weight"]}
    if "kind" in by:
        return KINDS
    return ("real", *entries_of(config.forgery)) if "method" in by else None


class Classed:
    """The logits of held-out faces by class, and pictures of some."""

    def __init__(self, config: ConfigDict):
        self.names = classes_of(config) or _TWO
        self._entries = entries_of(config.forgery)
        self._logits: dict[tuple[int | None, str], list[np.ndarray]] = {}
        self.pictures: dict[int, np.ndarray] = {}  # class -> (N, S, S, 3) uint8

    def add(
        self,
        test: str,
        entry: Entry,
        found: Mapping[str, np.ndarray],
        stage: str,
        kinds: np.ndarray | None = None,
    ) -> None:
        """Adds the faces of a test and, once, the real ones.

        entry: what made the fakes. found: scored, with logits of "real" and of ``stage``. kinds: (N,) of the fakes;
        None: the entry's.
        """
        if LOGITS + stage not in found:
            return
        kinds = np.full(len(found[LOGITS + stage]), entry.spec.kind_number) if kinds is None else kinds
        if not self._logits:
            self._take(0, self.names[0], found, "real", slice(None))
        if self.names == KINDS:
            for kind in np.unique(kinds):
                title = KINDS[kind] if kind >= 0 else "unknown kind"
                self._take(int(kind) if kind >= 0 else None, title, found, stage, kinds == kind)
        elif self.names == _TWO:
            self._take(1, _TWO[1], found, stage, slice(None))
        else:
            number = self._method(test, entry, stage)
            title = entry.spec.tests.get(stage, (test, entry.spec.title))[1] if number is None else self.names[number]
            self._take(number, title, found, stage, slice(None))

    def _take(self, number: int | None, title: str, found: Mapping[str, np.ndarray], stage: str, rows) -> None:
        self._logits.setdefault((number, title), []).append(found[LOGITS + stage][rows])
        if number is not None and number not in self.pictures and len(found.get(PICTURE + stage, ())) >= _SHOWN:
            self.pictures[number] = found[PICTURE + stage][:_SHOWN]

    def _method(self, test: str, entry: Entry, stage: str) -> int | None:
        """The class of a test's fakes: that of the mix's entry that makes them; None where there is none."""
        named = [own.spec.tests.get("image", (name, ""))[0] for name, own in self._entries.items()]
        alike = [stage == "image" and entry.tested_like(own) for own in self._entries.values()]
        for found in ([name == test for name in named], alike):
            if any(found):
                return 1 + found.index(True)
        return None

    def part(self, known: np.ndarray | None) -> dict | None:
        """``classes_part``, real faces first, then by class, then what has none; None for real and fake alone.

        known: (N, K) logits of validation faces of all classes, None where there are none.
        """
        if self.names == _TWO or not self._logits:
            return None
        order = sorted(self._logits, key=lambda key: len(self.names) if key[0] is None else key[0])
        groups = [Faces(title, number, np.concatenate(self._logits[number, title])) for number, title in order]
        return classes_part(self.names, groups, None if known is None else limit_of(known))


def fingerprints_in(variables: Any) -> np.ndarray | None:
    """The model fingerprints (S, S, 3, K) among a detector's parameters, None where it has none."""
    found = dict(variables).get("params", {}).get(FINGERPRINTS)
    return None if found is None or np.ndim(found) != 4 else np.asarray(found)


def fingerprint_gallery(
    names: Sequence[str], models: np.ndarray, faces: Mapping[int, np.ndarray], residuals: np.ndarray
) -> Gallery:
    """A column for each class: its model fingerprint, then each of its faces with the image fingerprint below.

    models: (S, S, 3, K). faces: class -> (N, S, S, 3) uint8; where a class has none, its column stays grey below.
    residuals: (M, S, S, 3), the image fingerprints of all these faces in order.
    """
    columns, below = {}, iter(residuals)
    for number, name in enumerate(names):
        shown = [_drawn(models[..., number])]
        for place in range(_SHOWN):
            face = faces[number][place] if number in faces else np.full_like(shown[0], 128)
            shown += [face, _drawn(next(below)) if number in faces else face]
        columns[name] = np.stack(shown)
    return Gallery(columns)


def _drawn(fingerprint: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8: zero is grey, black and white are ``_SPREAD`` deviations away."""
    deviation = float(np.std(fingerprint)) or 1.0
    return np.clip(np.rint(127.5 * (1 + fingerprint / (_SPREAD * deviation))), 0, 255).astype(np.uint8)
