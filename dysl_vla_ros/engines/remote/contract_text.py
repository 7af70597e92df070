"""The text of a contract -> plain values; small on the disk and small when it is written out.

YAML can name a part and repeat it: a few hundred bytes stand for more than memory holds. So what
a document stands for is counted on its nodes, where a part that is repeated is one, before any of
it is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dysl_vla_ros.errors import BundleError

LARGEST_FILE = 1 << 20
_MOST = 10_000
"""Values of a document with its aliases written out, and characters of one."""


def read_document(path: Path) -> Any:
    """The plain values of a YAML file.

    Raises:
        BundleError: It cannot be read, is no YAML, or stands for too much.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise BundleError(f'{path}: {size} bytes, expected at most {LARGEST_FILE}')
        return _built(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise BundleError(f'{path}: cannot be read: {error.strerror}') from None
    except _TooMuchError as error:
        raise BundleError(f'{path}: {error}') from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        words = ' '.join(str(error).split())[:200]
        raise BundleError(f'{path}: no valid YAML: {words}') from None


class _TooMuchError(Exception):
    """What a document stands for is too large."""


def _built(text: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, 'contract', {})
        return loader.construct_document(node)
    finally:
        loader.dispose()  # type: ignore[no-untyped-call]


def _count(node: yaml.Node, where: str, known: dict[yaml.Node, int]) -> int:
    """Values below a node, itself included, each as often as it is repeated.

    Args:
        node: Of a document.
        where: Its place, for messages.
        known: Of nodes that were counted; 0 while one is.
    """
    if node in known:
        if not known[node]:
            raise _TooMuchError(f'{where}: an alias of what it stands in: expected none')
        return known[node]
    known[node], count = 0, 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else '?'
            count += _count(key, where, known) + _count(value, f'{where}.{name[:40]}', known)
            _limit(count, where)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            count += _count(item, where, known)
            _limit(count, where)
    elif len(node.value) > _MOST:
        raise _TooMuchError(f'{where}: {len(node.value)} characters: expected at most {_MOST}')
    known[node] = count
    return count


def _limit(count: int, where: str) -> None:
    if count > _MOST:
        raise _TooMuchError(
            f'{where}: more than {_MOST} values with its aliases written out: expected at most '
            f'{_MOST}'
        )
