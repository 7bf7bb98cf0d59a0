"""Speed compared with PyTorch and with the machine's measured peaks: ``fdetect bench``."""
