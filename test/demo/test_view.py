"""The live view shows what is known, and does not fall over what is not."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from dysl_vla_ros.demo.figures import COMMANDS, POLICY, Picture, figures
from dysl_vla_ros.demo.keys import Operator
from dysl_vla_ros.demo.view import Size, live_view, sparkline, summary


def shown(renderable):
    console = Console(width=100, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(renderable)
    return console.export_text()


def test_a_sparkline_has_one_bar_per_value_from_low_to_high():
    assert sparkline([0.0, 0.5, 1.0]) == '▁▅█'


def test_a_sparkline_of_equal_values_is_flat():
    assert sparkline([2.0, 2.0]) == '▁▁'


def test_the_view_starts_with_nothing_known():
    assert 'starting' in shown(live_view(Picture(), 0.0))


def busy() -> Picture:
    """Half a minute of a demo."""
    picture = Picture(
        episode={'instruction': 'lift the red cube', 'episodes': '4', 'successes': '3',
                 'phase': 'reach'},
        frame=np.full((96, 96, 3), 200, np.uint8),
    )  # fmt: skip
    stages = {'preprocess_ms': '1', 'encode_ms': '2', 'decode_ms': '1', 'layers_total': '20'}
    for _ in range(90):
        picture.note_pass({'layer_mask': '1' * 6 + '0' * 14, 'mode': 'skipped', 'layers_run': '6',
                           'backbone_ms': '3', **stages})  # fmt: skip
        picture.skip_ratio.append(0.7)
        picture.continuity.append(1.0)
    picture.note_status(COMMANDS, {'state': 'verifying', 'command_rate_hz': '30.0'}, 0.0)
    picture.note_status(POLICY, {'skip_ratio': '0.5', 'inference_ms_p50': '12'}, 0.0)
    return picture


def test_the_view_shows_instruction_state_phase_layers_and_successes():
    text = shown(live_view(busy(), 3.0))
    for word in ('lift the red cube', 'verifying', 'reach', '3 of 4', '0.5', '30.0 Hz', '███'):
        assert word in text


def test_a_pass_stands_beside_a_dense_one_reckoned_until_one_was_measured():
    picture = busy()
    assert '7 ms, 6 of 20 layers; dense 14 ms' in shown(live_view(picture, 3.0))
    stages = {'preprocess_ms': '1', 'encode_ms': '2', 'backbone_ms': '9', 'decode_ms': '1'}
    depth = {'layer_mask': '1' * 20, 'layers_run': '20', 'layers_total': '20'}
    picture.note_pass({'mode': 'full', **depth, **stages})
    assert '13 ms, 20 of 20 layers; dense 13 ms' in shown(live_view(picture, 3.0))


@pytest.mark.parametrize('size', [Size(80, 23), Size(100, 30, colour=False), Size(160, 50)])
def test_the_view_fits_the_terminal(size):
    console = Console(width=size.columns, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(live_view(busy(), 12.0, size))
    lines = console.export_text().splitlines()
    assert len(lines) <= size.rows
    assert max(map(len, lines)) <= size.columns


def test_the_summary_shows_missing_values_as_a_dash():
    assert '-' in shown(summary(figures(Picture())))


def test_what_is_typed_and_what_was_answered_stand_in_the_view():
    operator = Operator()
    operator.press('i', 'running', 'auto', 0)
    operator.press('put it', 'running', 'auto', 0)
    assert '> put it_' in shown(live_view(busy(), 3.0, operator=operator))
    operator.press('\x1b', 'running', 'auto', 0)
    operator.said = 'refused: no such thing'
    text = shown(live_view(busy(), 3.0, operator=operator))
    assert 'refused: no such thing' in text and 'q quit' in text


def test_without_colours_letters_tell_full_passes_from_others():
    picture = busy()
    picture.note_pass({'layer_mask': '1' * 20, 'mode': 'full'})
    text = shown(live_view(picture, 3.0, Size(80, 23, colour=False)))
    assert any('pass ' in line and 'F' in line for line in text.splitlines())
    assert 'F full' in text and '· jumped' in text  # what the letters mean


@pytest.mark.parametrize('size', [Size(80, 23), Size(100, 30), Size(60, 20)])
def test_a_long_reason_takes_neither_the_names_of_the_rows_nor_the_camera_away(size):
    picture = busy()
    why = 'wrist_1_joint was moved 0.128 rad away from its command by a hand, or it is blocked'
    picture.note_status(COMMANDS, {'state': 'ready', 'hold_reason': why}, 0.0)
    picture.episode['instruction'] = 'put the yellow cylinder next to the purple cube on the left'
    console = Console(width=size.columns, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(live_view(picture, 3.0, size, Operator()))
    text = console.export_text()
    for name in ('told', 'state', 'phase', 'commands', 'pass', 'mode', 'skipped', 'continuity'):
        assert f'{name} ' in text, text
    assert max(map(len, text.splitlines())) <= size.columns
    assert size.columns < 80 or '· jumped' in text  # the legend is whole


def test_a_long_answer_is_read_to_its_end_also_at_80_by_24():
    operator = Operator()
    operator.said = (
        "refused: instruction = 'grab it': expected pick up, put into or push " * 2 + 'END'
    )
    text = shown(live_view(busy(), 3.0, Size(80, 23), operator))
    assert 'END' in text and 'verifying' in text and 'lift the red cube' in text
    assert len(text.splitlines()) <= 23


def test_the_address_of_the_page_stands_in_the_view_and_leaves_the_layers_their_room():
    address = 'http://127.0.0.1:44415/?token=' + 'x' * 60
    text = shown(live_view(busy(), 3.0, Size(80, 23), address=address))
    assert address in ''.join(line.strip('│ ') for line in text.splitlines())
    assert '███' in text and len(text.splitlines()) <= 23


def test_continuity_says_which_fall_is_a_drop():
    picture = busy()
    known = {'continuity_last': '-0.0325', 'continuity_threshold': '1.4565'}
    picture.note_status(POLICY, known, 0.0)
    text = shown(live_view(picture, 3.0, Size(80, 23)))
    assert '-0.03, drop: falls 1.46' in text
