"""Recorded observations through a policy again, offline."""
