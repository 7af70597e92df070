"""``-m gpu`` reads test/gpu alone, and ends with one line of JSON, with a GPU or without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_card import card

ROOT = Path(__file__).resolve().parents[2]
# The run inside imports torch, where there is one.
pytestmark = pytest.mark.slow


def run(*arguments):
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-m', 'gpu', '-q', *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip().splitlines(), done


def test_without_a_path_nothing_but_test_gpu_is_read():
    lines, done = run('--collect-only')
    named = {line.split('::')[0] for line in lines if '::' in line}
    assert named and all(name.startswith('test/gpu/') for name in named), done.stdout
    assert not any('_on_the_cpu' in name for name in named)
    assert 'error' not in done.stdout.lower(), done.stdout


def test_the_last_line_is_json_and_says_why_what_was_skipped():
    lines, done = run()
    document = json.loads(lines[-1])
    assert document['what'] == 'make test-gpu' and document['failed'] == 0, done.stdout
    if document['gpu'] is None:
        assert any('libcuda' in reason for reason in document['skipped'])


def test_the_card_names_every_figure():
    found = {'gpu': 'H100', 'torch': '2', 'passed': 1, 'failed': 0, 'skipped': ['no TensorRT'],
             'seconds': 3.0, 'figures': {'encode [ms]': 2.98765, 'same bits': True}}  # fmt: skip
    lines = list(card(found))
    assert lines[0].startswith('H100')
    assert '  encode [ms]: 2.988' in lines and '  same bits: True' in lines
    assert lines[-1] == '  skipped: no TensorRT'
