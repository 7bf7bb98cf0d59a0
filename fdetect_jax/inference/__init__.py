"""A trained detector at work: crops in, calibrated scores, attention, evidence and verdicts out."""
