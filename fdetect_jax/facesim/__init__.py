"""Procedural faces: drawn, labelled, and of nobody. The embedded default of every training and test."""
