"""The documentation says what the code does."""

from __future__ import annotations

from pathlib import Path

from dysl_vla_ros.config import markdown_table, parameters
from dysl_vla_ros.core.run_state import STATES

DOC = Path(__file__).resolve().parents[1] / 'doc'


def test_the_parameter_page_is_what_the_code_prints():
    page = (DOC / 'parameters.md').read_text(encoding='utf-8')
    assert markdown_table() in page, 'run: python -m dysl_vla_ros.config > doc/parameters.md'


def test_no_description_breaks_the_table_of_the_parameter_page():
    broken = [p.name for p in parameters() if '|' in p.text]
    assert broken == []


def test_the_interface_page_explains_every_state():
    page = (DOC / 'interface.md').read_text(encoding='utf-8')
    assert [state for state in STATES if state not in page] == []
