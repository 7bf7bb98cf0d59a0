"""Sharpness-aware minimisation and learning-rate schedules."""
