"""Lists of words are read as the `tokenizers` library reads them, without it."""

from __future__ import annotations

import json
import random
import sys
import unicodedata
from pathlib import Path

import pytest

from dysl_vla_ros.bundle.no_files import COUNTS_WORDS
from dysl_vla_ros.bundle.word_list import parts, word_list
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.policy import load_tokenizer

BUNDLED = Path(__file__).resolve().parents[2] / 'resource' / 'models' / 'tabletop'
TEXT = (BUNDLED / 'tokenizer.json').read_text(encoding='utf-8')


def test_the_bundled_model_gets_the_ids_of_the_library():
    library = pytest.importorskip('tokenizers', reason='the library to compare with')
    theirs, ours = library.Tokenizer.from_str(TEXT), word_list(TEXT)
    words = list(json.loads(TEXT)['model']['vocab'])
    rng = random.Random(0)
    letters = ' abzREDcube,.!\t\n"é-_ßÄΣσς½²İ'
    for _ in range(2000):
        text = ''.join(rng.choice([*words, *letters]) + rng.choice(['', ' ']) for _ in range(8))
        assert ours.encode(text).ids == theirs.encode(text).ids, text


def test_every_letter_is_cut_as_the_library_cuts_it():
    library = pytest.importorskip('tokenizers', reason='the library to compare with')
    cut = library.pre_tokenizers.Whitespace()
    wrong = []
    for number in range(sys.maxunicode // 8):
        letter = chr(number)
        if unicodedata.category(letter) in ('Cs', 'Cn'):  # surrogates; not assigned yet
            continue
        text = f'a{letter}b {letter}! {letter}'
        if [part for part, _ in cut.pre_tokenize_str(text)] != parts(text):
            wrong.append(letter)
    assert len(wrong) < 20, wrong  # another version of Unicode knows a few more marks


@pytest.mark.parametrize(
    'change',
    [
        {'normalizer': None}, {'pre_tokenizer': {'type': 'ByteLevel'}},
        {'added_tokens': [{'content': '<s>', 'id': 1}]}, {'post_processor': {'type': 'Bert'}},
        {'truncation': {'max_length': 4}}, {'model': {'type': 'BPE', 'vocab': {}}},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_is_not_exactly_such_a_list_is_left_to_the_library(change):
    assert word_list(json.dumps({**json.loads(TEXT), **change})) is None
    assert word_list(TEXT) is not None and word_list(COUNTS_WORDS) is not None


def test_without_the_library_such_a_bundle_says_how_to_get_it_and_the_bundled_one_opens(
    monkeypatch,
):
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    manifest = fake_manifest()
    assert load_tokenizer(manifest, TEXT).encode('pick up the red cube').ids
    other = json.dumps({**json.loads(TEXT), 'normalizer': None})
    with pytest.raises(BundleError, match='expected the tokenizers library .*pip install'):
        load_tokenizer(manifest, other)


def test_what_is_no_json_is_a_bundle_error():
    with pytest.raises(BundleError, match='expected JSON'):
        word_list('{')
