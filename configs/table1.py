"""Table 1 with additions: the same detector, data and tests, trained in several ways.

    python -m fdetect_jax.main --config=configs/table1.py
    python -m fdetect_jax.main --config=configs/table1.py:sweeps --workdir=runs/table1
    python -m fdetect_jax.main --config=configs/table1.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/table1.py:paper --config.data.source=prepared --config.data.root=DIR \
        --config.evaluation.forgeries.latent.inverter=DIR

``:sweeps`` adds runs over λ, the margin, ε and s, and reuses finished runs in the table's workdir. ``:paper`` uses the
settings of ``configs/adv.py:paper``, and dataset fakes for the baseline. The same command resumes an interrupted table.

``--config.evaluate_only=True --config.evaluation.split=val`` compares trained variants on validation, where choices are
made, in ``table_val.html``.

``variants`` holds, for each variant, the fields that differ from the shared ones.
``rows`` lists the variants that are trained, in order, each with ``seeds`` seeds from ``seed`` on.

The paper's accuracies on GAN-inverted faces: adversarial 10.9 points above the baseline, joint metric learning 7.1
points below adversarial. Alternating is conjectured to close that gap; the paper did not measure it.
"""

from configs import adv, arcface, common

_COMPARISONS = (
    ("adversarial", "baseline"),
    ("adversarial", "reconstruction"),
    ("joint", "adversarial"),
    ("alternating", "joint"),
    ("alternating", "adversarial"),
    ("arcface", "adversarial"),
    ("sbi", "adversarial"),
)


def get_config(variant: str = "facesim"):
    data = "facesim" if variant == "sweeps" else variant
    config = common.detector(f"Table 1 ({data})", data, "configs/table1.py")
    config.task, config.seeds, config.comparisons = "table", 3, _COMPARISONS
    config.evaluation.calibrate = False  # AUC does not need it
    config.evaluation.skip = ("composite", "resample")  # which were not there when the table was measured
    paper = data == "paper"
    config.forgery = common.forgery(config.evaluation.forgeries.latent.inverter)
    config.forgery.latent = config.evaluation.forgeries.latent.to_dict()
    config.forgery.latent.warmup = adv.get_config(data).forgery.latent.warmup
    if not paper:  # otherwise two cores would take hours
        config.steps, config.forgery.latent.warmup = 48, 30
    head = arcface.changed("b4", 128, {"remat": True}) if paper else arcface.changed("small64", 32, {})
    adversarial = {"forgery": {"mix": {"latent": 1.0}}}
    config.variants = {
        "baseline": {
            "title": "Baseline: dataset fakes" if paper else "Baseline: swaps and self-blends",
            "forgery": {"mix": {"given": 1.0} if paper else {"swap": 1.0, "sbi": 1.0}},
        },
        "reconstruction": {"title": "Reconstructions", "forgery": {"mix": {"reconstruction": 1.0}}},
        "adversarial": {"title": "Adversarial", **adversarial},
        "joint": {"title": "Adversarial + metric, joint", **adversarial, "objective": {"lam": 0.9}},
        "alternating": {
            "title": "Adversarial + metric, alternating",
            **adversarial,
            "objective": {"mode": "alternating"},
        },
        "arcface": {"title": "Adversarial + ArcFace", **adversarial, **head},
        "sbi": {"title": "Adversarial + self-blends", "forgery": {"mix": {"latent": 1.0, "sbi": 1.0}}},
    }
    config.rows = ("baseline", "reconstruction", "adversarial", "joint", "alternating", "arcface", "sbi")
    if not paper:
        config.variants.baseline.steps = 160  # a step without an attack costs a fraction
        # The same number of adversaries as in the other variants.
        config.variants.sbi.steps = 2 * config.steps
        config.variants.sbi.forgery.latent = {"warmup": 2 * config.forgery.latent.warmup}
    config.sweeps = {}
    if variant == "sweeps":
        _add_sweeps(config, adversarial)
    return config


def _add_sweeps(config, adversarial: dict) -> None:
    """Adds variants along one parameter each; variants of the table serve as points of these sweeps."""

    def sweep(name: str, title: str, values: tuple, table: dict, change) -> None:
        variants = dict(table)
        for value in values:
            variant = f"{name}_{value:g}".replace(".", "_")
            config.variants[variant] = {"title": f"{title} = {value:g}", **adversarial} | change(value)
            config.rows = (*config.rows, variant)
            variants[variant] = float(value)
        config.sweeps[name] = {"title": title, "variants": variants}

    def attack(name: str):
        return lambda value: {"forgery": {"mix": {"latent": 1.0}, "latent": {"attack": {name: value}}}}

    sweep("lam", "λ", (0.5,), {"adversarial": 1.0, "joint": 0.9}, lambda value: {"objective": {"lam": value}})
    sweep(
        "margin",
        "margin, at λ = 0.9",
        (0.5, 1.8),
        {"joint": 1.0},
        lambda value: {"objective": {"lam": 0.9}, "losses": {"contrastive": {"margin": value}}},
    )
    config.comparisons = (*config.comparisons, ("margin_0_5", "adversarial"))  # the best of them with the first seeds
    sweep("epsilon", "ε", (1.0, 8.0), {"adversarial": 4.0}, attack("epsilon"))
    sweep("steps", "s", (1, 5), {"adversarial": 10.0}, attack("steps"))
