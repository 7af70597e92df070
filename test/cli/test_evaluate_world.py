"""The table of an evaluation in another world fits a terminal, whatever was asked for."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dysl_vla_ros.cli.evaluate_world import world_table

TOLD = {
    'episodes': 500, 'success_rate': 0.954, 'success_interval': (0.93, 0.97), 'picked': 480,
    'elsewhere': 10, 'layers_run_mean': 8.99, 'rerun_rate': 0.01, 'pass_ms': 10.2,
}  # fmt: skip
LOST = {'loss': 0.05, 'low': -0.003, 'high': 0.103}


@pytest.mark.parametrize('control', ['none', 'other_words', 'blank'])
def test_a_table_of_libero_fits_eighty_columns_and_cuts_nothing(control: str) -> None:
    document = {
        'world': 'libero', 'suite': 'libero_spatial_object', 'control': control,
        'rows': {'full': TOLD, 'static_only': TOLD, 'fixed 10': TOLD},
        'paired': {'static_only': LOST, 'fixed 10': LOST},
    }  # fmt: skip
    text = io.StringIO()
    Console(file=text, width=80).print(world_table(document))
    shown = text.getvalue()
    assert '…' not in shown and 'static_only' in shown
    assert ('96 %' in shown) == (control == 'other_words')
    assert ('-0.3..10.3' in shown) == (control != 'other_words')
