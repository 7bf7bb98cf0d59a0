"""Tests of what a training left out: each generator's fakes, and each source's real faces. In: a config and a way to
score crops. Out: Tests.

Every crop of ``data.leave_out`` is tested, in whatever split it lies: none was trained or chosen on.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fdetect_jax.data.mixture import Mixture
from fdetect_jax.data.sources import LEAVE_OUT, make_source
from fdetect_jax.evaluation.table import Scored, Test
from fdetect_jax.types import FAKE, REAL, UNKNOWN

Score = Callable[[list[Any]], np.ndarray]  # crops (S, S, 3) uint8 -> margins


def left_out_tests(config: ConfigDict, score: Score) -> Iterator[Test]:
    """All fakes left out against all real faces left out; the fakes of each generator against these real faces; and
    the real faces of each source against these fakes. Nothing if nothing was left out, or on another split.

    At most ``evaluation.limit`` crops of each generator and of each source are drawn, by ``evaluation.seed``.
    """
    names = config.data.get("leave_out", {})
    if config.evaluation.split != "test" or not any(names.get(field) for field in LEAVE_OUT):
        return
    real, fake = (_scored(config, label, score) for label in (REAL, FAKE))
    yield Test("left_out", "Left out, all", Scored.joined([real, fake]))
    for method in np.unique(fake.method):
        units = Scored.joined([real, fake.rows(fake.method == method)])
        yield Test(f"left_out:{_key(method)}", f"Left out: {method}", units)
    for source in np.unique(real.source):
        units = Scored.joined([real.rows(real.source == source), fake])
        yield Test(f"left_out_real:{_key(source)}", f"Left out, real: {source}", units)


def _key(name: str) -> str:
    return str(name).replace("/", ",")  # a slash would make it a part of a test


def _scored(config: ConfigDict, label: int, score: Score) -> Scored:
    source = make_source(config.data, "test", label=label)
    parts = [part.source for part in source.parts] if isinstance(source, Mixture) else [source]
    methods = np.concatenate([part.methods_of for part in parts])
    sources = np.concatenate([part.sources_of for part in parts])
    by, rng = (methods if label == FAKE else sources), np.random.default_rng(config.evaluation.seed)
    chosen = [rng.permutation(np.flatnonzero(by == name))[: config.evaluation.limit] for name in np.unique(by)]
    rows = np.sort(np.concatenate(chosen))
    faces = [source[int(row)] for row in rows]
    margins = score([face["image"] for face in faces])
    kinds = np.array([face.get("kind", UNKNOWN) for face in faces])
    # Real faces and fakes are numbered apart: a face and a fake of one number have nothing in common.
    groups = np.asarray(source.groups)[rows] * 2 + label
    return Scored(np.full(len(rows), label), margins, kinds, methods[rows], sources[rows], groups)
