"""Faces in, batches out: sources of faces by index, host forgeries, augmentation, the grain pipeline."""
