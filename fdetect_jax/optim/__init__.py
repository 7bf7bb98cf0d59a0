"""Sharpness-aware minimisation, the optimisers that it wraps, and learning-rate schedules."""
