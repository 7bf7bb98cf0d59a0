"""Downloads to shards: the public data sets' layouts, cropping them once, and what is wrong with a download. No JAX."""
