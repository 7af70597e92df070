"""What a manifest says of files where there are none: the fake policy, and one on a server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from dysl_vla_ros.bundle.manifest import FileEntry, SegmentSpec

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
