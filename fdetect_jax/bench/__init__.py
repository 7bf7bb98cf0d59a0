"""Speed against PyTorch and against what the machine can do: ``fdetect bench``."""
