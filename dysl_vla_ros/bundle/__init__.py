"""The exported folder: manifest, layout, checks, strict JSON."""
