"""Calls that nobody could mean end in one line, before the work."""

from __future__ import annotations

import pytest

from dysl_vla_ros.cli.main import main


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['demo', '--seconds', '-1'], '--seconds = -1.0: expected 0 (until Ctrl-C) or more'),
        (['demo', '--seconds', 'nan'], '--seconds = nan: expected 0 (until Ctrl-C) or more'),
        (['demo', '--episodes', '-3'], '--episodes = -3: expected 0 (until Ctrl-C) or more'),
        (['demo', '--domain-id', '999'], '--domain-id = 999: expected within [0, 232]'),
        (['demo', 'seed:=1e999'], "seed = '1e999': expected a whole number"),
        (['demo', 'seed:=1.7'], "seed = '1.7': expected a whole number"),
        (['demo', 'namespace:=a b'], "namespace = 'a b': expected names such as 'left'"),
        (['demo', 'robot:=ur5e', 'command_rate_hz:=inf'],
         "command_rate_hz = 'inf': expected a finite number"),
        (['evaluate', '--time-limit', '0'], 'time_limit = 0.0: expected more than 0'),
        (['calibrate', 'BUNDLE', '--depth', '5'], 'depth = 5.0: expected a share of the layers'),
        (['calibrate', 'BUNDLE', '--weights', '1', '2'], 'weights = [1.0, 2.0]: expected 7'),
        (['calibrate', 'BUNDLE', '--weights', 'a'], "weights = ['a']: expected balanced, equal"),
        (['calibrate', 'FILE'], 'expected a checkpoint written by dysl train'),
        (['export', 'FILE', 'OUT'], 'expected a checkpoint written by dysl train'),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_line_that_says_what_is_right(words, said, tmp_path, capsys):
    from dysl_vla_ros.engines.open_engine import bundled_model

    if words[0] in ('calibrate', 'export'):
        pytest.importorskip('torch')
    text = tmp_path / 'setup.py'
    text.write_text('# no checkpoint')
    places = {'BUNDLE': bundled_model(), 'FILE': text, 'OUT': tmp_path / 'out'}
    assert main([str(places.get(word, word)) for word in words]) == 1
    found = capsys.readouterr().err
    assert said in found and len(found.splitlines()) == 1
