"""Embeddings in two dimensions: (N, D) by the kind of face in, points and a chart of them out."""

from collections.abc import Mapping

import numpy as np
from sklearn.decomposition import PCA

from fdetect_jax.report.curves import headline
from fdetect_jax.report.plots import Chart, scatter_chart

_SHOWN = 100  # of each kind


def project(embeddings: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The two directions of most variance over all kinds together.

    Args:
      embeddings: kind -> (N, D), finite; two rows at least, of two dimensions at least.

    Returns:
      kind -> (N, 2), and the share of the variance along each direction, (2,).
    """
    pca = PCA(2, svd_solver="full").fit(np.concatenate([*embeddings.values()]).astype(np.float64))
    points = {kind: pca.transform(rows.astype(np.float64)) for kind, rows in embeddings.items()}
    return points, pca.explained_variance_ratio_


def embedding_chart(title: str, embeddings: Mapping[str, np.ndarray], identifier: str) -> Chart:
    """PCA of the first hundred of each kind."""
    points, shares = project({kind: rows[:_SHOWN] for kind, rows in embeddings.items()})
    labels = [f"{name} component, {100 * share:.0f} %" for name, share in zip(("1st", "2nd"), shares, strict=True)]
    return scatter_chart(title, {headline(kind): rows for kind, rows in points.items()}, labels, identifier)
