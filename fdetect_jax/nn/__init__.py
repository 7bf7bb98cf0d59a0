"""Layers that several networks share: convolutions with fast gradients, resampling, quick compilation."""
