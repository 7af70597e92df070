"""How long the prompts of LIBERO's 40 tasks are: each length is a set of graphs on a GPU.

The sentences are the names of the suites' files, from which OpenVLA takes them. Their tokens were
counted on 2026-11-27 with Llama 2's SentencePiece vocabulary, which is not part of this project:
BOS, the template, and the empty token at the end. DYSL_LLAMA_TOKENIZER, the tokenizer.json of a
published folder, has them counted again.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
pytestmark = pytest.mark.slow

from dysl_vla_ros.cli.checkpoints import PROMPT_TOKENS
from dysl_vla_ros.engines.cuda.engine import LENGTHS
from dysl_vla_ros.lab.model.openvla_oft import OftConfig
from dysl_vla_ros.lab.model.published_model import prompt_of
from dysl_vla_ros.policy import instruction_tokens, load_tokenizer

PAGE = Path(__file__).parents[3] / 'doc' / 'performance.md'
COUNTED = {
    # libero_spatial
    'pick up the black bowl between the plate and the ramekin and place it on the plate': 35,
    'pick up the black bowl from table center and place it on the plate': 30,
    'pick up the black bowl in the top drawer of the wooden cabinet and place it on the plate': 36,
    'pick up the black bowl next to the cookie box and place it on the plate': 32,
    'pick up the black bowl next to the plate and place it on the plate': 31,
    'pick up the black bowl next to the ramekin and place it on the plate': 33,
    'pick up the black bowl on the cookie box and place it on the plate': 31,
    'pick up the black bowl on the ramekin and place it on the plate': 32,
    'pick up the black bowl on the stove and place it on the plate': 31,
    'pick up the black bowl on the wooden cabinet and place it on the plate': 31,
    # libero_object
    'pick up the alphabet soup and place it in the basket': 26,
    'pick up the bbq sauce and place it in the basket': 29,
    'pick up the butter and place it in the basket': 26,
    'pick up the chocolate pudding and place it in the basket': 30,
    'pick up the cream cheese and place it in the basket': 28,
    'pick up the ketchup and place it in the basket': 27,
    'pick up the milk and place it in the basket': 25,
    'pick up the orange juice and place it in the basket': 27,
    'pick up the salad dressing and place it in the basket': 28,
    'pick up the tomato sauce and place it in the basket': 28,
    # libero_goal
    'open the middle drawer of the cabinet': 23,
    'open the top drawer and put the bowl inside': 26,
    'push the plate to the front of the stove': 25,
    'put the bowl on the plate': 22,
    'put the bowl on the stove': 23,
    'put the bowl on top of the cabinet': 24,
    'put the cream cheese in the bowl': 25,
    'put the wine bottle on the rack': 24,
    'put the wine bottle on top of the cabinet': 25,
    'turn on the stove': 20,
    # libero_10
    'turn on the stove and put the moka pot on it': 28,
    'put the black bowl in the bottom drawer of the cabinet and close it': 31,
    'put the yellow and white mug in the microwave and close it': 30,
    'put both moka pots on the stove': 25,
    'put both the alphabet soup and the cream cheese box in the basket': 30,
    'put both the alphabet soup and the tomato sauce in the basket': 29,
    'put both the cream cheese box and the butter in the basket': 30,
    'put the white mug on the left plate and put the yellow and white mug on the right plate': 36,
    'put the white mug on the plate and put the chocolate pudding to the right of the plate': 38,
    'pick up the book and place it in the back compartment of the caddy': 31,
}


def test_every_prompt_fits_what_is_exported_and_three_do_not_fit_605_tokens():
    assert len(COUNTED) == 40
    assert max(COUNTED.values()) == 38 <= PROMPT_TOKENS
    config = OftConfig()
    assert config.tokens == 605
    assert sum(count > config.prompt_tokens for count in COUNTED.values()) == 3


def test_the_engine_keeps_a_set_of_graphs_for_every_length_that_occurs():
    lengths = len(set(COUNTED.values()))
    assert lengths <= LENGTHS
    assert f'{lengths} lengths' in PAGE.read_text(encoding='utf-8')


def test_the_published_tokenizer_counts_the_same():
    path = os.environ.get('DYSL_LLAMA_TOKENIZER')
    if not path:
        pytest.skip('DYSL_LLAMA_TOKENIZER names no tokenizer.json of OpenVLA')
    spec = prompt_of(PROMPT_TOKENS, OftConfig().pad_id)
    tokenizer = load_tokenizer_of(Path(path))
    found = {text: int((instruction_tokens(spec, tokenizer, text) != spec.pad_id).sum())
             for text in COUNTED}  # fmt: skip
    assert found == COUNTED


def load_tokenizer_of(path):
    from types import SimpleNamespace

    named = SimpleNamespace(instruction=SimpleNamespace(tokenizer=path.name))
    return load_tokenizer(named, path.read_text(encoding='utf-8'))
