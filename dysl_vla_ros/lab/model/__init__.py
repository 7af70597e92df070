"""Offline: the model in torch, its skipping parts, and the reference engine."""
