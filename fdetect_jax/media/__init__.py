"""Bytes in, faces out: photographs, face detection and landmarks, crop recipes. No JAX."""
