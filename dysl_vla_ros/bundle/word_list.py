"""A word-level tokenizer without the `tokenizers` library: what the bundled model needs.

The file is the library's own format, of which exactly one kind is understood here: lower-cased
text, cut into words and runs of punctuation, each looked up in a list. Anything else is left to
the library.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass

from dysl_vla_ros.errors import BundleError

_WORD = ('L', 'M', 'Nd', 'Nl', 'Pc')
"""Categories of letters, their marks, digits and joining punctuation."""
_CIRCLED = (range(0x24B6, 0x24EA), range(0x1F130, 0x1F14A), range(0x1F150, 0x1F16A),
            range(0x1F170, 0x1F18A))  # fmt: skip
_JOINERS = '\u200c\u200d'
_NO_SPACES = '\x1c\x1d\x1e\x1f'
"""Python calls them spaces, Unicode does not."""
_UNUSED = ('truncation', 'padding', 'post_processor')
_LOWERCASE = {'type': 'Lowercase'}
_WHITESPACE = {'type': 'Whitespace'}


@dataclass(frozen=True)
class Tokens:
    """Tokens of one text.

    Attributes:
        ids: Token ids.
    """

    ids: list[int]


class WordList:
    """What is used of ``tokenizers.Tokenizer``, for lists of words.

    Attributes:
        words: Those that a text can have; none of a list that only counts.
    """

    def __init__(self, vocabulary: dict[str, int], unknown: int | None) -> None:
        """Take the list.

        Args:
            vocabulary: Word -> id.
            unknown: Id of other words; None leaves them out.
        """
        self._vocabulary = vocabulary
        self._unknown = unknown
        self.words = tuple(word for word in vocabulary if parts(_lower(word)) == [word])

    def encode(self, text: str) -> Tokens:
        """Text to tokens."""
        found = (self._vocabulary.get(part, self._unknown) for part in parts(_lower(text)))
        return Tokens([word for word in found if word is not None])

    def of_text(self, text: str) -> tuple[list[str], list[str]]:
        """Known and unknown words of a text, each once; signs count where there is no word."""
        found = list(dict.fromkeys(parts(_lower(text))))
        found = [part for part in found if _in_word(part[0])] or found
        known = [part for part in found if part in self._vocabulary]
        return known, [part for part in found if part not in self._vocabulary]


def word_list(text: str) -> WordList | None:
    """A tokenizer from its JSON; None where it is of a kind that only the library knows.

    Args:
        text: In the format of the ``tokenizers`` library.

    Raises:
        BundleError: It is no JSON.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f'tokenizer: {error}; expected JSON') from None
    if not isinstance(document, dict) or any(document.get(key) for key in _UNUSED):
        return None
    model = document.get('model')
    known = (
        document.get('normalizer') == _LOWERCASE
        and document.get('pre_tokenizer') == _WHITESPACE
        and not document.get('added_tokens')
        and isinstance(model, dict)
        and model.get('type') == 'WordLevel'
    )
    if not known or not isinstance(model, dict):
        return None
    vocabulary, unknown = model.get('vocab'), model.get('unk_token')
    if not isinstance(vocabulary, dict) or unknown not in vocabulary:
        return None
    if not all(isinstance(value, int) and not isinstance(value, bool)
               for value in vocabulary.values()):  # fmt: skip
        return None
    return WordList(vocabulary, vocabulary[unknown])


def parts(text: str) -> list[str]:
    r"""Words and runs of what is neither word nor space: the library's ``Whitespace``.

    Its regular expression ``\w+|[^\w\s]+`` is not Python's, to whom marks are no letters and
    fractions are.
    """
    found: list[str] = []
    before = ' '
    for letter in text:
        kind = ' ' if _is_space(letter) else 'w' if _in_word(letter) else '.'
        if kind != ' ':
            if kind == before:
                found[-1] += letter
            else:
                found.append(letter)
        before = kind
    return found


def _is_space(letter: str) -> bool:
    return letter.isspace() and letter not in _NO_SPACES


def _in_word(letter: str) -> bool:
    if letter.isascii():
        return letter.isalnum() or letter == '_'
    category = unicodedata.category(letter)
    circled = any(ord(letter) in letters for letters in _CIRCLED)
    return category.startswith(_WORD) or letter in _JOINERS or circled


def _lower(text: str) -> str:
    """Letter by letter, as the library does: Python's own looks at the end of Greek words."""
    return ''.join(letter.lower() for letter in text)
