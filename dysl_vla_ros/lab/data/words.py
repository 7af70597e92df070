"""Text to tokens: one token per word, because the grammar of the bundled tasks is small."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

from dysl_vla_ros.errors import ConfigError

PAD, UNKNOWN = '[PAD]', '[UNK]'
PAD_ID = 0


def build_tokenizer(phrases: Iterable[str]) -> Tokenizer:
    """A word-level tokenizer that knows every word of ``phrases``; others become unknown."""
    splitter = Whitespace()
    words = {w for p in phrases for w, _ in splitter.pre_tokenize_str(p.lower())}
    if not words:
        raise ConfigError('phrases', (), 'at least one phrase with a word in it')
    vocabulary = {word: index for index, word in enumerate([PAD, UNKNOWN, *sorted(words)])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = splitter
    return tokenizer


def longest(tokenizer: Tokenizer, phrases: Iterable[str]) -> int:
    """Tokens of the longest phrase; 0 of none."""
    return max((len(tokenizer.encode(phrase).ids) for phrase in phrases), default=0)


def encode(tokenizer: Tokenizer, phrase: str, length: int) -> NDArray[np.int64]:
    """Token ids padded to ``length``.

    Raises:
        ConfigError: The phrase has more words than that.
    """
    ids = tokenizer.encode(phrase).ids
    if len(ids) > length:
        raise ConfigError('instruction', phrase, f'at most {length} words, found {len(ids)}')
    return np.array(ids + [PAD_ID] * (length - len(ids)), dtype=np.int64)


def encode_all(tokenizer: str, phrases: Iterable[str], length: int) -> NDArray[np.int64]:
    """Token ids of phrases, (phrases, length); the tokenizer as its JSON."""
    known = Tokenizer.from_str(tokenizer)
    return np.stack([encode(known, phrase, length) for phrase in phrases])


def encode_table(
    tokenizer: Tokenizer, phrases: Iterable[Iterable[str]], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens of every phrasing of every goal.

    Returns:
        Ids (goals, most phrasings, length), and how many phrasings each goal has (goals,).
    """
    rows = [[encode(tokenizer, phrase, length) for phrase in goal] for goal in phrases]
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    if not len(counts) or counts.min() == 0:
        raise ConfigError('phrases', counts.tolist(), 'at least one phrasing for every goal')
    table = np.zeros((len(rows), int(counts.max()), length), dtype=np.int64)
    for goal, row in enumerate(rows):
        table[goal, : len(row)] = row
    return table, counts
