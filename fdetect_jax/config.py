"""Every check of a config, in one place, before any work starts."""

from ml_collections import ConfigDict


def check(config: ConfigDict) -> None:
    """Placeholder until the detector's fields are settled."""
