"""Whether every token has a row in the embedding: beyond it a GPU reads whatever lies there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.manifest import InstructionSpec
from dysl_vla_ros.bundle.onnx_wire import looked_up_rows
from dysl_vla_ros.bundle.strict_json import LARGEST_PUBLISHED, load, shown
from dysl_vla_ros.errors import BundleError

_BLANKS = '▁Ġ '
"""What tokenizers write for a blank."""


def check_ids(tokenizer: Path, instruction: InstructionSpec, embed: Path) -> None:
    """Compare the ids that may come out of the tokenizer with the table they are looked up in.

    Args:
        tokenizer: Of the ``tokenizers`` library.
        instruction: Adds ids for padding and end.
        embed: Graph with the input ``tokens``; one that cannot be read is the engine's matter.

    Raises:
        BundleError: The tokenizer is no JSON object, or an id has no row; names token and id.
    """
    document = load(tokenizer, LARGEST_PUBLISHED)
    if not isinstance(document, dict):
        raise BundleError(f'{tokenizer.name}: {shown(document)}: expected a JSON object')
    try:
        rows = looked_up_rows(embed, 'tokens')
    except BundleError:
        return
    if rows is None:
        return
    check_rows(document, tokenizer.name, instruction, rows)


def check_rows(
    document: dict[str, Any], title: str, instruction: InstructionSpec, rows: int
) -> None:
    """As ``check_ids``, of a tokenizer's JSON and the number of rows.

    Raises:
        BundleError: An id has no row; names token and id. Or padding or end is a word.
    """
    ids = {'instruction.pad_id': instruction.pad_id, 'instruction.end_id': instruction.end_id}
    for name, value in (*ids.items(), *_tokens(document)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and 0 <= value < rows):
            raise BundleError(
                f'{title}: {shown(name)} = {shown(value)}: expected an id within '
                f'[0, {rows - 1}], a row of the embedding'
            )
    _check_words(document, title, ids)


def _check_words(document: dict[str, Any], title: str, ids: dict[str, int | None]) -> None:
    """A word as padding would be left out of every instruction that says it."""
    model, added = document.get('model'), document.get('added_tokens')
    vocabulary = model.get('vocab') if isinstance(model, dict) else None
    special = {entry.get('id') for entry in (added if isinstance(added, list) else ())
               if isinstance(entry, dict) and entry.get('special') is True
               and isinstance(entry.get('id'), int)}  # fmt: skip
    if not isinstance(vocabulary, dict):
        return
    for name, wanted in ids.items():
        if wanted is None or wanted in special:
            continue
        words = [token for token, value in vocabulary.items()
                 if value == wanted and token.strip(_BLANKS).isalnum()]  # fmt: skip
        if words:
            raise BundleError(f'{title}: {name} = {wanted}: expected a token that is no word: '
                              f'this one is {shown(words[0])}')  # fmt: skip


def _tokens(document: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    model = document.get('model')
    vocabulary = model.get('vocab') if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from vocabulary.items()
    elif isinstance(vocabulary, list) and vocabulary:  # in the order of the ids
        yield 'the last of model.vocab', len(vocabulary) - 1
    added = document.get('added_tokens')
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, dict):
            yield entry.get('content'), entry.get('id')
    after = document.get('post_processor')
    special = after.get('special_tokens') if isinstance(after, dict) else None
    for name, entry in special.items() if isinstance(special, dict) else ():
        ids = entry.get('ids') if isinstance(entry, dict) else None
        yield from ((name, value) for value in (ids if isinstance(ids, list) else ()))
