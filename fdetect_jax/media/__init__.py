"""Files to frames and back: discovery, photographs, videos, sound, limits and processes that may die. No JAX."""
