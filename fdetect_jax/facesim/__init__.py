"""Procedural faces of people who do not exist, with landmarks and masks: the default data of training and tests."""
