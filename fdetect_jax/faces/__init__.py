"""Faces in pictures: finding, landmarks, tracks and crops. NumPy, OpenCV and MediaPipe, no JAX."""
