"""The training loop, and the trainers that it runs: detector, GAN, inversion."""
