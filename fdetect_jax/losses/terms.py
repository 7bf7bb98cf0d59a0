"""Terms of a detector's loss, by name: ``(outputs, batch) -> (B,)``.

A new one is a function (here, or in a file of its own) and a line in ``TERMS``.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from fdetect_jax.errors import UserError
from fdetect_jax.nn.margin import margin_logits
from fdetect_jax.types import Batch, Outputs

Term = Callable[[Outputs, Batch], jax.Array]

FORMS = ("hadsell", "squared_hinge")
PAIRS = ("counterpart", "all")


def cross_entropy(outputs: Outputs, batch: Batch) -> jax.Array:
    """Softmax cross-entropy of the label, per row."""
    return optax.softmax_cross_entropy_with_integer_labels(outputs.logits.astype(jnp.float32), batch.label)


def contrastive(
    outputs: Outputs,
    batch: Batch,
    margin: float = 1.0,
    form: str = "hadsell",
    pairs: str = "counterpart",
    normalize: bool = True,
) -> jax.Array:
    """Contrastive loss of the embedding over pairs of the batch: like labels together, unlike ones apart.

    With D the distance of a pair, like pairs cost ½D². Unlike pairs cost ½max(0, m − D)² (``hadsell``, Hadsell et al.
    2006) or ½max(0, m − D²) (``squared_hinge``, the hinge on the squared distance). A row's value is the mean over its
    like pairs plus the mean over its unlike ones.

    Args:
      margin: m. form: as above.
      pairs: which unlike pairs count: ``counterpart``, a face x and the fakes x' made from it; or ``all``.
      normalize: put embeddings on the unit sphere first, so that the margin has a scale.
    """
    f = outputs.embedding.astype(jnp.float32)
    if normalize:
        f = f * jax.lax.rsqrt(jnp.sum(jnp.square(f), axis=-1, keepdims=True) + 1e-12)
    squared = jnp.sum(jnp.square(f[:, None] - f[None]), axis=-1)
    if form == "hadsell":
        # The gradient of a root at zero is infinite; a pair that far inside the margin gets a finite push instead.
        distance = jnp.sqrt(squared + 1e-10)
        apart = 0.5 * jnp.square(jnp.maximum(0.0, margin - distance))
    else:
        apart = 0.5 * jnp.maximum(0.0, margin - squared)
    counts = batch.weight[None] * batch.weight[:, None] * (1 - jnp.eye(f.shape[0]))
    alike = (batch.label[:, None] == batch.label[None]) * counts
    unlike = (batch.label[:, None] != batch.label[None]) * counts
    if pairs == "counterpart":
        unlike = unlike * (batch.pair[:, None] == batch.pair[None])

    def mean(values: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.sum(values * mask, axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1.0)

    return mean(0.5 * squared, alike) + mean(apart, unlike)


def arcface(outputs: Outputs, batch: Batch, margin: float = 0.5, scale: float = 16.0, form: str = "true") -> jax.Array:
    """Softmax cross-entropy of the cosines with an angular margin, per row; options as ``nn.margin.margin_logits``.

    Raises ValueError for a detector without cosines.
    """
    if outputs.cosines is None:
        raise UserError("losses.arcface: found a detector without cosines, wanted one with an ArcFace head")
    logits = margin_logits(outputs.cosines, batch.label, margin, scale, form)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)


def attention(outputs: Outputs, batch: Batch) -> jax.Array:
    """Binary cross-entropy between the attention and the share of each of its cells that the face covers, their mean.

    Raises ValueError for a detector without attention.
    """
    if outputs.attention is None:
        raise UserError("losses.attention: found a detector without attention, wanted one with an attention branch")
    p = jnp.clip(outputs.attention[..., 0].astype(jnp.float32), 1e-6, 1 - 1e-6)
    face = jax.image.resize(batch.face.astype(jnp.float32), p.shape, "linear")  # antialiased: the mean of a cell
    return -jnp.mean(face * jnp.log(p) + (1 - face) * jnp.log1p(-p), axis=(1, 2))


@dataclasses.dataclass(frozen=True)
class Entry:
    """A term and the objective it belongs to: ``classifier`` or ``metric`` (the two that Eq. 5 weighs).

    face: whether it reads ``Batch.face``.
    """

    term: Callable[..., jax.Array]
    objective: str
    face: bool = False


OBJECTIVES = ("classifier", "metric")
TERMS: dict[str, Entry] = {
    "cross_entropy": Entry(cross_entropy, "classifier"),
    "contrastive": Entry(contrastive, "metric"),
    "arcface": Entry(arcface, "classifier"),
    "attention": Entry(attention, "classifier", face=True),
}


def make_term(name: str, options: dict) -> Term:
    """The term ``name`` with its options bound."""
    return partial(TERMS[name].term, **options)
