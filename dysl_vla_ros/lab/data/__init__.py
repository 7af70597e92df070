"""Demonstrations, corrections and recordings as datasets."""
