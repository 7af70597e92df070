"""bf16 is for what multiplies in it: a CPU that does not would train for days."""

from __future__ import annotations

import pytest

torch = pytest.importorskip('torch', reason='make test-all')

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.learn import half


@pytest.fixture
def times(monkeypatch):
    """Seconds of a product, by type; the test sets them."""
    found = {torch.bfloat16: 0.5, torch.float32: 0.01}
    monkeypatch.setattr(half, '_seconds', found.__getitem__)
    return found


@pytest.mark.parametrize('words', [('recipe', '--world', 'libero', '--folder', 'run'),
                                   ('recipe', '--preset', 'toy', '--folder', 'run'),
                                   ('anchors', 'run', '--exit-layer', '2')])  # fmt: skip
def test_bf16_is_refused_on_a_cpu_that_it_slows_down_before_anything_is_made(
    words, times, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    if words[0] == 'anchors':
        (tmp_path / 'run').mkdir()
        (tmp_path / 'run' / 'dense.safetensors').touch()
    assert main([*words, '--precision', 'bf16', '--device', 'cpu']) == 2
    said = ' '.join(capsys.readouterr().err.split())
    assert "precision = 'bf16': expected fp32, or auto: this CPU has no AVX512-BF16" in said
    assert '50 times slower' in said
    assert not [path for path in tmp_path.rglob('*') if path.is_file() and path.stat().st_size]


def test_bf16_is_taken_where_it_is_fast_and_nothing_else_is_measured(times, monkeypatch):
    half.check_speed('precision', 'bf16', on_gpu=True)
    half.check_speed('precision', 'auto', on_gpu=False)
    times[torch.bfloat16] = 0.004
    half.check_speed('precision', 'bf16', on_gpu=False)


def test_a_product_of_each_type_is_timed():
    assert half._seconds(torch.float32) > 0 and half._seconds(torch.bfloat16) > 0
