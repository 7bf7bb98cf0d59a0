"""Sharpness-aware minimisation, its base optimisers, and learning-rate schedules."""
