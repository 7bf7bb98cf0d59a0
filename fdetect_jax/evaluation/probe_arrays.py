"""A fitted classifier as the arrays of a registered detector. In: of ``inference``. Out: variables."""

from typing import Any

import numpy as np

from fdetect_jax.detectors.probe import BANK, FITTED
from fdetect_jax.inference.probes import Bank, Linear
from fdetect_jax.inference.spotter import Network


def arrays_of(
    fitted: Linear | Bank | Network, neuron: str, thresholds: np.ndarray | None
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(name of the detector, fields of its config, its variables without the trunk's).

    neuron, thresholds: of FakeSpotter; thresholds None: the classifier is one of embeddings.
    """
    standard = {"mean": fitted.mean, "scale": fitted.scale}
    if thresholds is not None:
        fields = {"neuron": neuron, "classifier": "network" if isinstance(fitted, Network) else "svm"}
        arrays = fitted.variables["params"] if isinstance(fitted, Network) else {"fc0": _two(fitted)}
        return (
            "fakespotter",
            fields,
            {
                "params": {"classifier": arrays},
                FITTED: {"standard": standard, "thresholds": thresholds},
            },
        )
    if isinstance(fitted, Bank):
        bank = {"embedding": fitted.embedding, "label": fitted.label.astype(np.float32)}
        variables = {BANK: bank, FITTED: {"standard": standard, "width": np.float32(fitted.width)}}
        return "neighbours", {"k": fitted.k, "faces": len(fitted.label)}, variables
    head = {"kernel": fitted.kernel[:, None], "bias": np.array([fitted.bias])}
    return "probe", {}, {"params": {"fc": head}, FITTED: {"standard": standard}}


def _two(fitted: Linear) -> dict[str, np.ndarray]:
    """A linear classifier with a unit for each class; that of real gives 0."""
    kernel = np.stack([np.zeros_like(fitted.kernel), fitted.kernel], axis=1)
    return {"kernel": kernel, "bias": np.array([0.0, fitted.bias])}
