"""The bundle's graphs on torch, as CUDA graphs; an optional extra."""
