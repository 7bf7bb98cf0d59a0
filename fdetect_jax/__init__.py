"""fdetect_jax: detectors of forged faces that learn from their own adversaries.

The public API: ``load`` reads a network from a weights file, ``Predictor`` turns files into verdicts, and the
registries, each a dict by name, take additions from outside. Everything is imported when it is first asked for, so that
importing the package stays fast, and JAX is not imported before its process is set up.
"""

import importlib as _importlib
import sys as _sys

_PUBLIC = {
    "load": "loading",
    "Predictor": "predict.predictor",
    "DETECTORS": "detectors",
    "TERMS": "losses.terms",
    "TARGETS": "data.targets",
    "FORGERIES": "forgery",
    "METRICS": "evaluation.metrics",
    "LAYOUTS": "datasets.layouts",
    "ANALYSES": "inference.analyses",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if "jax" not in _sys.modules:
        _importlib.import_module(f"{__name__}.host").set_up()
    found = getattr(_importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(name for name in {*globals(), *_PUBLIC} if name.startswith("__") or not name.startswith("_"))
