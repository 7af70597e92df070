"""The live view shows what is known, and does not fall over what is not."""

from __future__ import annotations

from rich.console import Console

from dysl_vla_ros.demo.figures import COMMANDS, POLICY, Picture, figures
from dysl_vla_ros.demo.view import live_view, sparkline, summary


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


def test_the_view_shows_instruction_state_layers_and_successes():
    picture = Picture(
        episode={'instruction': 'lift the red cube', 'episodes': '4', 'successes': '3'},
        chunk={'layer_mask': '1100', 'mode': 'skipped'},
    )
    picture.note_status(COMMANDS, {'state': 'verifying', 'command_rate_hz': '30.0'}, 0.0)
    picture.note_status(POLICY, {'skip_ratio': '0.5', 'inference_ms_p50': '12'}, 0.0)
    text = shown(live_view(picture, 3.0))
    for word in ('lift the red cube', 'verifying', '3 of 4', '██░░', 'skipped', '0.5', '30.0 Hz'):
        assert word in text


def test_the_summary_shows_missing_values_as_a_dash():
    assert '-' in shown(summary(figures(Picture())))
