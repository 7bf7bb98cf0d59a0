"""Table 1, and beyond it: the same detector, data and tests, trained in one way after another.

    python -m fdetect_jax.main --config=configs/table1.py
    python -m fdetect_jax.main --config=configs/table1.py:sweeps --workdir=runs/table1
    python -m fdetect_jax.main --config=configs/table1.py:folder --config.data.root=DIR
    python -m fdetect_jax.main --config=configs/table1.py:paper --config.data.source=prepared --config.data.root=DIR \
        --config.evaluation.forgery.inverter=DIR

``:sweeps`` adds runs over λ, the margin, ε and s, and takes up what the table's workdir holds. ``:paper`` has the
settings of ``configs/adv.py:paper``, and the data's own fakes for the baseline. Stopped, the same command goes on.

``variants`` holds what differs from the fields above it.
``rows`` says which variants are trained, in their order, each with the seeds from ``seed`` on, ``seeds`` of them.

The paper's accuracies on GAN-inverted faces: adversarial 10.9 points above the baseline, joint metric learning 7.1
below adversarial, and alternating, conjectured to repair that, not measured.
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
    config.evaluation.calibrate = False  # AUC does not ask for it
    paper = data == "paper"
    latent = {"kind": "latent", "half": "", "warmup": adv.get_config(data).forgery.warmup}
    if not paper:  # or two cores would take hours
        config.steps, latent["warmup"] = 48, 30
    head = arcface.changed("b4", 128, {"remat": True}) if paper else arcface.changed("small64", 32, {})
    config.variants = {
        "baseline": {
            "title": "Baseline: the data's own fakes" if paper else "Baseline: swaps and self-blends",
            "forgery": {"kind": "given"} if paper else {"kind": "mixed", "kinds": ("swap", "sbi")},
        },
        "reconstruction": {"title": "Reconstructions", "forgery": latent | {"kind": "reconstruction"}},
        "adversarial": {"title": "Adversarial", "forgery": latent},
        "joint": {"title": "Adversarial + metric, joint", "forgery": latent, "objective": {"lam": 0.9}},
        "alternating": {
            "title": "Adversarial + metric, alternating",
            "forgery": latent,
            "objective": {"mode": "alternating"},
        },
        "arcface": {"title": "Adversarial + ArcFace", "forgery": latent, **head},
        "sbi": {"title": "Adversarial + self-blends", "forgery": latent | {"half": "sbi"}},
    }
    config.rows = ("baseline", "reconstruction", "adversarial", "joint", "alternating", "arcface", "sbi")
    if not paper:
        config.variants.baseline.steps = 160  # without an attack a step costs a fraction
        # As many adversaries as the others see.
        config.variants.sbi.steps, config.variants.sbi.forgery.warmup = 2 * config.steps, 2 * latent["warmup"]
    config.sweeps = {}
    if variant == "sweeps":
        _add_sweeps(config, latent)
    return config


def _add_sweeps(config, latent: dict) -> None:
    """Arms along one parameter each; those of the table have their places among them."""

    def sweep(name: str, title: str, values: tuple, table: dict, change) -> None:
        variants = dict(table)
        for value in values:
            variant = f"{name}_{value:g}".replace(".", "_")
            config.variants[variant] = {"title": f"{title} = {value:g}", "forgery": latent} | change(value)
            config.rows = (*config.rows, variant)
            variants[variant] = float(value)
        config.sweeps[name] = {"title": title, "variants": variants}

    def attack(name: str):
        return lambda value: {"forgery": latent | {"attack": {name: value}}}

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
