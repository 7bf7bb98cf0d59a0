"""Faces in, batches out: sources by index, forgeries made on the host, augmentation, the grain pipeline."""
