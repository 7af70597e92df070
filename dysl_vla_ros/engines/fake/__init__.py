"""A policy without a model."""
