"""The colours of charts and pages."""

# name -> (light, dark). Matplotlib draws the light value, which therefore must be unique.
PALETTE = {
    "ink": ("#1d2530", "#e8ecf2"),
    "muted": ("#667085", "#98a2b3"),
    "grid": ("#e4e7ec", "#2c3440"),
    "real": ("#1f77c9", "#5aa9f5"),
    "fake": ("#d9480e", "#ff8a50"),
    "s1": ("#2f5fd0", "#7ea6ff"),
    "s2": ("#b98900", "#e6b84c"),
    "s3": ("#c11574", "#ff7ec0"),
    "s4": ("#0aa2c0", "#4fd0e8"),
    "s5": ("#30363d", "#c3ccd9"),
    "s6": ("#7a3e10", "#d9966a"),
}
