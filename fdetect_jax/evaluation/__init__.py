"""What a run has learned: metrics, curves, pictures, and the report that shows them."""
