"""What a manifest says of files where there are none: the fake policy, on a server, in torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.manifest import FileEntry, Manifest, SegmentSpec

TOKENIZER_NAME = 'tokenizer.json'
COUNTS_WORDS = """{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
"normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
"post_processor": null, "decoder": null,
"model": {"type": "WordLevel", "vocab": {"[PAD]": 0, "[UNK]": 1}, "unk_token": "[UNK]"}}"""
"""A tokenizer that knows no word and counts them all."""


def no_files(segments: Iterable[str]) -> dict[str, Any]:
    """``segments`` and ``files`` of a ``Manifest``: empty graphs, and the tokenizer above.

    Args:
        segments: Their names.
    """
    names, data = list(segments), COUNTS_WORDS.encode()
    nothing = FileEntry(hashlib.sha256(b'').hexdigest(), 0)
    words = FileEntry(hashlib.sha256(data).hexdigest(), len(data))
    return {
        'segments': {name: SegmentSpec(f'{name}.onnx', (), ()) for name in names},
        'files': {f'{name}.onnx': nothing for name in names} | {TOKENIZER_NAME: words},
    }


def with_weights(manifest: Manifest, places: Sequence[Path]) -> Manifest:
    """The manifest of graphs that are nowhere written, with the files whose weights they have.

    By names, lengths and times: of gigabytes read twice the start would take minutes. Retrained,
    the same name is another model for whoever asked before.

    Args:
        manifest: Without checksums.
        places: Files and folders.
    """
    found = []
    for place in (path.expanduser() for path in places):
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        about = ((file.name, file.stat()) for file in files if file.is_file())
        found += [(name, stat.st_size, stat.st_mtime_ns) for name, stat in about]
    entry = FileEntry(hashlib.sha256(repr(found).encode()).hexdigest(), 0)
    return replace(manifest, files={**manifest.files, 'weights': entry})
