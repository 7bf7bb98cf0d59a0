"""fdetect_jax: detectors of forged faces that learn from their own adversaries."""
