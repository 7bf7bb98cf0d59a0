"""Files in, verdicts out: faces are found and analyses extract in worker processes, scores are made in this one.

Hostile files meet only the workers.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit

from fdetect_jax.faces.clips import MediaFaces
from fdetect_jax.faces.extract import extract_faces
from fdetect_jax.faces.models import load_models
from fdetect_jax.inference.analyses import ANALYSES, Extracted, extract, extractions, weigh
from fdetect_jax.inference.mask_shape import of_masks
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Predictions, Scorer
from fdetect_jax.inference.views import predictions_of_faces, views_of
from fdetect_jax.media.isolated import Workers, run_isolated
from fdetect_jax.media.limits import Rejected
from fdetect_jax.predict.verdict import Verdict, decide, unable
from fdetect_jax.predict.work import Heat

SECONDS = 600.0  # that one file may take, by default
_HEAT_FACES = 8  # of a file, those with the highest scores

Scored = tuple[Path, MediaFaces | Rejected, Predictions]


def check(scorer: Scorer, heat_map: bool = False) -> None:
    """Raises, before work starts, what ``verdicts`` would raise at its first file.

    Raises:
      UserError: the recipe is of another face detector, an analysis cannot be used, or a heat map is wanted of a
        detector that has none. ModelsUnavailable: the face models cannot be had.
    """
    scorer.recipe.require_detector()
    extractions(ANALYSES)
    if heat_map:
        scorer.require_attention()
    load_models()


def verdicts(
    files: Sequence[Path],
    scorer: Scorer,
    protocol: Protocol,
    *,
    heat_map: bool = False,
    portraits: bool = False,
    workers: int | None = None,
    seconds: float = SECONDS,
    readers: Workers | None = None,
) -> Iterator[tuple[Verdict, Heat | None]]:
    """The verdict on every file, in order, with the heat maps of its most suspicious faces where they are wanted.

    Of a detector with a mask, these faces' masks are evidence, whether heat maps are wanted or not.

    A file that cannot be read has a verdict too. Close it to end the processes early.

    Args:
      files: images and videos. scorer: the detector. protocol: from scores of faces to that of a file.
      heat_map: whether heat maps are made. portraits: whether faces are wanted in any case, also one of each of the
        most suspicious people; they have no heat maps unless these are made.
      workers: processes; None: one per core. seconds: that one file may take to be read, and as many for the analyses.
      readers: of ``start_readers``, if they run already.
    """
    analyses = dict(ANALYSES)
    how = {"workers": workers, "seconds": seconds}
    with contextlib.ExitStack() as stack:
        which = (scorer.recipe, protocol.sampling, protocol.faces, protocol.views)
        found = extract_faces(files, *which, readers=readers, **how)
        stack.enter_context(contextlib.closing(found))
        scorer.compile()  # while the processes start
        scored = _scored(zip(files, found, strict=True), scorer, protocol)
        for (file, seen, predictions), extracted in _extracted(scored, extractions(analyses), how, stack):
            if isinstance(seen, Rejected):
                yield unable(str(file), seen.reason, protocol, seen.passing), None
                continue
            margins = scorer.calibration.margins(predictions.margins)
            evidence, notes = weigh(extracted, analyses)
            maps = heat_map or scorer.finds_masks
            heat = _heat(seen, margins, scorer, maps, portraits) if (maps or portraits) and seen.crops else None
            if heat is not None and heat.masks:
                evidence = (of_masks(heat.attention, heat.scores), *evidence)
            known = predictions.classes, scorer.classes, evidence, notes, predictions.strangeness, scorer.limits
            verdict = decide(str(file), seen, margins, protocol, *known, scorer.lead)
            verdict = dataclasses.replace(verdict, passing=extracted.passing)
            yield verdict, heat if heat_map or portraits else None


def _scored(seen: Iterable[tuple[Path, MediaFaces | Rejected]], scorer: Scorer, protocol: Protocol) -> Iterator[Scored]:
    groups = (
        ((file, one), *views_of(() if isinstance(one, Rejected) else one.crops, protocol.views)) for file, one in seen
    )
    for (file, one), predictions in predictions_of_faces(scorer, protocol, groups):
        yield file, one, predictions


def _extracted(
    scored: Iterator[Scored], chosen: Sequence, how: dict, stack: contextlib.ExitStack
) -> Iterator[tuple[Scored, Extracted]]:
    """What the analyses extract of every file that could be read, by processes of their own: one that dies or takes too
    long costs the file its analyses, not its verdict."""
    if not chosen:
        yield from ((one, Extracted()) for one in scored)
        return
    waiting: collections.deque[Scored] = collections.deque()

    def tasks() -> Iterator[tuple]:
        for file, seen, predictions in scored:
            waiting.append((file, seen, predictions))
            yield (file, (), ()) if isinstance(seen, Rejected) else (file, seen.crops, chosen)

    for found in stack.enter_context(contextlib.closing(run_isolated(extract, tasks(), **how))):
        if isinstance(found, Rejected):
            found = Extracted(notes=(f"analyses failed: {found.reason}",), passing=found.passing)
        yield waiting.popleft(), found


def _heat(seen: MediaFaces, margins: np.ndarray, scorer: Scorer, maps: bool, portraits: bool) -> Heat:
    order, tracks = np.argsort(-margins, kind="stable"), np.array([crop.track for crop in seen.crops])
    chosen = order[:_HEAT_FACES]
    if portraits:
        _, first = np.unique(tracks[order], return_index=True)  # where each person's most suspicious face stands
        chosen = np.union1d(chosen, order[np.sort(first)[:_HEAT_FACES]])
    chosen = np.sort(chosen)
    crops = [crop.example["image"] for crop in seen.crops]
    found = scorer.attention_of(crops, tracks.tolist(), chosen) if maps else None
    masks = maps and scorer.finds_masks
    return Heat(np.stack([crops[number] for number in chosen]), found, expit(margins[chosen]), tracks[chosen], masks)
