"""Reports as JSON, written so that an interruption leaves the old file or the new one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, document: Any) -> None:
    """Write atomically.

    Args:
        path: Target; its folder is made.
        document: What ``json`` can write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    partial.write_text(json.dumps(document, indent=1) + '\n', encoding='utf-8')
    os.replace(partial, path)
