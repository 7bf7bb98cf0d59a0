"""Terms of a detector's loss, by name: ``(outputs, batch) -> (B,)``.

A new one is a function (here, or in its own file) and a line in ``TERMS`` that names the heads of the detector and
the targets of the batch that it reads.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fdetect_jax import parallel
from fdetect_jax.errors import UserError
from fdetect_jax.fields import above, between, one_of
from fdetect_jax.losses import fingerprints, segmentation, triplet
from fdetect_jax.losses.maps import check_supervised_map, check_weak_map, supervised_map, weak_map
from fdetect_jax.nn.margin import FORMS as MARGIN_FORMS
from fdetect_jax.nn.margin import margin_logits
from fdetect_jax.types import FAKE, REAL, Batch, Outputs, margin

FORMS = ("hadsell", "squared_hinge")
PAIRS = ("counterpart", "all")


def cross_entropy(outputs: Outputs, batch: Batch) -> jax.Array:
    """Cross-entropy of the label, per row: softmax of the real class against all fake classes together.

    With two classes this is the usual softmax; with more, P(fake) is the sum over the fake classes.
    """
    logits = outputs.logits.astype(jnp.float32)
    two = jnp.stack([logits[:, REAL], jax.nn.logsumexp(logits[:, FAKE:], axis=-1)], axis=-1)
    return optax.softmax_cross_entropy_with_integer_labels(two, batch.label)


def squared_error(outputs: Outputs, batch: Batch) -> jax.Array:
    """(P(fake) − label)², per row (MesoNet's loss; Afchar et al. 2018)."""
    return jnp.square(jax.nn.sigmoid(margin(outputs.logits.astype(jnp.float32))) - batch.label)


def class_cross_entropy(outputs: Outputs, batch: Batch, target: str, balanced: bool = False) -> jax.Array:
    """Softmax cross-entropy of a class, per row; a fake of unknown class (-1) is treated as in ``cross_entropy``.

    target: the name of the target that holds the class, for example "kind". balanced: rows are weighed so that every
    class of the batch counts alike; otherwise real faces, half of the rows, count as much as all fakes together.
    """
    classes = batch.targets[target]
    logits = outputs.logits.astype(jnp.float32)
    known = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(classes, 0))
    loss = jnp.where(classes >= 0, known, cross_entropy(outputs, batch))
    if not balanced:
        return loss
    alike = jnp.maximum(jnp.sum((classes[:, None] == classes[None]) * batch.weight[None], axis=1), 1.0)
    return loss * jnp.sum(batch.weight) / (alike * jnp.sum(batch.weight / alike))


def capsule(outputs: Outputs, batch: Batch, term: Callable[[Outputs, Batch], jax.Array]) -> jax.Array:
    """A term of the logits, of every value of the classes' capsules in their place, summed, per row.

    Capsule-Forensics' loss (Nguyen et al. 2019), with ``cross_entropy`` or ``class_cross_entropy`` for ``term``; the
    detector's head "capsules" (B, 4, classes) holds what each version of the authors' code takes for logits.
    """
    values = outputs.heads["capsules"]
    return sum(term(outputs.replace(logits=values[:, place]), batch) for place in range(values.shape[1]))


def contrastive(
    outputs: Outputs,
    batch: Batch,
    margin: float = 1.0,
    form: str = "hadsell",
    pairs: str = "counterpart",
    normalize: bool = True,
    across: bool = False,
) -> jax.Array:
    """Contrastive loss of the embedding over pairs of the batch: pulls equal labels together, different labels apart.

    With D the distance of a pair, equal pairs cost ½D². Different pairs cost ½max(0, m − D)² (``hadsell``, Hadsell
    et al. 2006) or ½max(0, m − D²) (``squared_hinge``, the hinge on the squared distance). A row's value is the mean
    over its equal pairs plus the mean over its different pairs.

    Args:
      margin: m. form: as above.
      pairs: the different pairs that count: ``counterpart``, a face x and the fakes x' made from it (equal targets
        ``pair``; -1 has no counterpart); or ``all``.
      normalize: scale embeddings to unit length first, so that the margin has a fixed scale.
      across: pair a row with those of every device and process, inside a step; otherwise with its own device's.
    """
    f = outputs.heads["embedding"].astype(jnp.float32)
    if normalize:
        f = f * jax.lax.rsqrt(jnp.sum(jnp.square(f), axis=-1, keepdims=True) + 1e-12)
    own = {"f": f, "label": batch.label, "weight": batch.weight, "row": jnp.arange(f.shape[0])}
    if pairs == "counterpart":
        own["pair"] = batch.targets["pair"]
    if across:  # rows and pairs are numbered per device
        own["row"] = parallel.rows(f.shape[0])
        if "pair" in own:
            own["pair"] = jnp.where(own["pair"] >= 0, parallel.rows(1) * f.shape[0] + own["pair"], -1)
    others = jax.tree.map(parallel.all_rows, own) if across else own
    squared = jnp.sum(jnp.square(f[:, None] - others["f"][None]), axis=-1)
    if form == "hadsell":
        # The gradient of a root at zero is infinite; a pair this far inside the margin gets a finite gradient instead.
        distance = jnp.sqrt(squared + 1e-10)
        apart = 0.5 * jnp.square(jnp.maximum(0.0, margin - distance))
    else:
        apart = 0.5 * jnp.maximum(0.0, margin - squared)
    counts = others["weight"][None] * own["weight"][:, None] * (own["row"][:, None] != others["row"][None])
    same = own["label"][:, None] == others["label"][None]
    alike, unlike = same * counts, ~same * counts
    if pairs == "counterpart":
        unlike = unlike * ((own["pair"][:, None] == others["pair"][None]) & (others["pair"][None] >= 0))

    def mean(values: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.sum(values * mask, axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1.0)

    return mean(0.5 * squared, alike) + mean(apart, unlike)


def arcface(outputs: Outputs, batch: Batch, margin: float = 0.5, scale: float = 16.0, form: str = "true") -> jax.Array:
    """Softmax cross-entropy of the cosines with an angular margin, per row; options as ``nn.margin.margin_logits``."""
    logits = margin_logits(outputs.heads["cosines"], batch.label, margin, scale, form)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)


def attention(outputs: Outputs, batch: Batch) -> jax.Array:
    """Binary cross-entropy of the attention against the share of each attention cell that the face covers, averaged."""
    p = jnp.clip(outputs.heads["attention"][..., 0].astype(jnp.float32), 1e-6, 1 - 1e-6)
    face = batch.targets["face"].astype(jnp.float32)
    face = jax.image.resize(face, p.shape, "linear")  # antialiased: the mean of a cell
    return -jnp.mean(face * jnp.log(p) + (1 - face) * jnp.log1p(-p), axis=(1, 2))


OBJECTIVES = ("classifier", "metric")


@dataclasses.dataclass(frozen=True)
class Term:
    """The registry entry of a term.

    function: ``(outputs, batch, **options) -> (B,)``. objective: one of ``OBJECTIVES``, the two that Eq. 5 weights.
    heads, targets: names that it reads, of ``Outputs.heads`` and of ``data.targets.TARGETS``.
    classes: the target that numbers the detector's classes; "": the term knows only real and fake.
    check: (options, path of their fields) -> None; raises UserError for an option that is out of range.
    """

    function: Callable[..., jax.Array]
    objective: str
    heads: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    check: Callable[[Mapping[str, Any], str], None] = lambda options, path: None
    classes: str = ""


def _check_contrastive(options: Mapping[str, Any], path: str) -> None:
    one_of(options, "form", FORMS, path)
    one_of(options, "pairs", PAIRS, path)
    one_of(options, "across", (True, False), path)
    above(options, "margin", 0, path)


def _check_classes(options: Mapping[str, Any], path: str) -> None:
    if "balanced" in options:
        one_of(options, "balanced", (True, False), path)


def _check_arcface(options: Mapping[str, Any], path: str) -> None:
    between(options, "margin", 0, 3.14, path)
    above(options, "scale", 0, path)
    one_of(options, "form", MARGIN_FORMS, path)


_KINDS, _METHODS = (partial(class_cross_entropy, target=target) for target in ("kind", "method"))

TERMS: dict[str, Term] = {
    "cross_entropy": Term(cross_entropy, "classifier"),
    "squared_error": Term(squared_error, "classifier"),
    "kinds": Term(_KINDS, "classifier", targets=("kind",), check=_check_classes, classes="kind"),
    "methods": Term(_METHODS, "classifier", targets=("method",), check=_check_classes, classes="method"),
    "contrastive": Term(contrastive, "metric", ("embedding",), ("pair",), _check_contrastive),
    "triplet": Term(triplet.triplet, "metric", ("embedding",), check=triplet.check),
    "arcface": Term(arcface, "classifier", ("cosines",), check=_check_arcface),
    "attention": Term(attention, "classifier", ("attention",), ("face",)),
    "activation": Term(segmentation.activation, "classifier", ("activations",)),
    "segmentation": Term(
        segmentation.segmentation, "classifier", ("mask",), ("mask", "valid"), segmentation.check_segmentation
    ),
    "reconstruction": Term(
        segmentation.reconstruction, "classifier", ("reconstruction",), check=segmentation.check_reconstruction
    ),
    "reconstruction_l1": Term(fingerprints.reconstruction_l1, "classifier", ("reconstruction",)),
    "critic": Term(fingerprints.critic, "classifier", ("critic/real", "critic/reconstruction", "critic/slope")),
    "capsule": Term(partial(capsule, term=cross_entropy), "classifier", ("capsules",)),
    "capsule_kinds": Term(partial(capsule, term=_KINDS), "classifier", ("capsules",), ("kind",), classes="kind"),
    "capsule_methods": Term(
        partial(capsule, term=_METHODS), "classifier", ("capsules",), ("method",), classes="method"
    ),
    "map": Term(supervised_map, "classifier", ("map",), ("mask", "valid", "pair"), check_supervised_map),
    "weak_map": Term(weak_map, "classifier", ("map",), check=check_weak_map),
}


def find_term(name: str) -> Term:
    """The registered term ``name``.

    Raises:
      UserError: no such term.
    """
    if name not in TERMS:
        raise UserError(f"losses: found {name!r}, wanted terms among {sorted(TERMS)}")
    return TERMS[name]


def require(names: Sequence[str], outputs: Outputs, targets: Collection[str]) -> None:
    """Checks, before any work, that the detector and the data provide what the terms ``names`` read.

    outputs: of the detector, from ``jax.eval_shape``. targets: the targets that the batches will have.

    Raises:
      UserError: names the term, the heads or targets it reads and those that exist.
    """
    for name in names:
        term = find_term(name)
        if lacking := [head for head in term.heads if head not in outputs.heads]:
            found = sorted(head for head in outputs.heads if "/" not in head)
            raise UserError(
                f"losses.{name}: found a detector with the heads {found}, wanted one with {', '.join(lacking)}, "
                f"since losses.{name}.weight > 0"
            )
        if lacking := [target for target in term.targets if target not in targets]:
            raise UserError(
                f"losses.{name}: found the targets {sorted(targets)}, wanted {', '.join(lacking)} among them"
            )
