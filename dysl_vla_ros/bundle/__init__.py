"""The exported folder: manifest, layout, checks, strict JSON."""

MANIFEST_NAME = 'manifest.json'
