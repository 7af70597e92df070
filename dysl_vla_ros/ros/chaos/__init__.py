"""Faults put into the running graph, and a judge that sees only messages and the arm."""
