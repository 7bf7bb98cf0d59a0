"""Numbers about many scores: tests, metrics, intervals, robustness."""
