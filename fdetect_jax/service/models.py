"""The detectors of a service, loaded once in a worker. In: a model's name and options. Out: a scorer and a protocol."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fdetect_jax.files import digest, sha256_of
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.video import Sampling

_CARD = "README.md"


class Loaded(NamedTuple):
    """scorer: the detector. key: a digest of all that decides its scores."""

    scorer: Scorer
    key: str


class Models:
    """The detectors by name; each is loaded when it is first asked for."""

    def __init__(self, paths: Mapping[str, str | None]):
        self._paths, self._loaded = paths, {}

    def get(self, name: str) -> Loaded:
        """Raises UserError where the weights cannot be used."""
        if name not in self._loaded:
            scorer = Scorer(self._paths[name])
            key = digest([sha256_of(scorer.path), scorer.recipe.to_dict(), str(scorer.dtype)])
            self._loaded[name] = Loaded(scorer, key)
        return self._loaded[name]

    def described(self, name: str) -> dict[str, Any]:
        """As GET /v1/models shows it."""
        scorer = self.get(name).scorer
        own = scorer.calibration
        return {
            "name": name,
            "description": scorer.description,
            "threshold": own.threshold,
            "suspicious": own.suspicious,
            "classes": list(scorer.classes),
            **card_words(scorer.path.parent / _CARD),
        }


def protocol_of(scorer: Scorer, options: Mapping[str, Any]) -> Protocol:
    """How a job's options and the model's own thresholds turn scores of faces into one of a file."""
    own = scorer.calibration
    sampling = Sampling(options["frames"], options["per_second"])
    return Protocol(sampling, options["faces"], threshold=own.threshold, suspicious=own.suspicious)


def card_words(card: Path) -> dict[str, str]:
    """What a card says in bold of what it was trained on, what it finds and what it misses; empty where it does not."""
    text = card.read_text() if card.is_file() else ""
    heads = {"trained_on": "What it was trained on", "finds": "What it finds", "misses": "What it misses"}
    found = {}
    for name, head in heads.items():
        match = re.search(rf"\*\*{head}\*\*(.*?)(?=\*\*|\n\n|\Z)", text, re.DOTALL)
        words = " ".join(match[1].replace("`", "").split()) if match else ""
        words = re.sub(r"^(\([^)]*\))?[:,]?\s*", "", words)
        found[name] = words[:1].upper() + words[1:]
    return found
