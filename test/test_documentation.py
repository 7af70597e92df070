"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dysl_vla_ros.config import markdown_table, parameters
from dysl_vla_ros.core.run_state import STATES

DOC = Path(__file__).resolve().parents[1] / 'doc'


def test_the_parameter_page_is_what_the_code_prints():
    page = (DOC / 'parameters.md').read_text(encoding='utf-8')
    assert markdown_table() in page, 'run: python -m dysl_vla_ros.config > doc/parameters.md'


def test_the_faq_s_six_lines_of_python_run(capsys):
    pytest.importorskip('mujoco')
    page = (DOC / 'faq.md').read_text(encoding='utf-8')
    (code,) = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    assert len(code.splitlines()) == 6
    exec(compile(code, 'doc/faq.md', 'exec'), {})
    said = capsys.readouterr().out
    assert re.fullmatch(r'skipped \d+ layers: \(8, 7\) actions\n', said), said


def test_no_description_breaks_the_table_of_the_parameter_page():
    broken = [p.name for p in parameters() if '|' in p.text]
    assert broken == []


def test_the_interface_page_explains_every_state():
    page = (DOC / 'interface.md').read_text(encoding='utf-8')
    assert [state for state in STATES if state not in page] == []


def test_the_security_page_names_whatever_a_stranger_could_misuse():
    page = (DOC / 'security.md').read_text(encoding='utf-8')
    policy = ElementTree.parse(DOC.parent / 'config' / 'sros2' / 'policy.xml').getroot()
    node = next(p for p in policy.iter('profile') if p.get('node') == 'vla_node')
    inputs = [t.text for topics in node.iterfind("topics[@subscribe='ALLOW']") for t in topics]
    requests = [s.text for services in node.iterfind("services[@reply='ALLOW']") for s in services]
    harmless = ('~/get_', '~/list_', '~/describe_')
    open_to_all = [name for name in (*inputs, *requests) if not name.startswith(harmless)]
    assert len(open_to_all) > 12
    images = {'image', 'wrist_image', 'image/compressed', 'wrist_image/compressed'}
    covered = images | {'~/set_parameters_atomically', 'sim_arm/transition_event'}
    unnamed = {name for name in open_to_all if name.split('/')[-1] not in page} - covered
    assert unnamed == set() and 'images' in page


def test_the_page_about_cameras_names_every_parameter_about_pictures():
    page = (DOC / 'cameras.md').read_text(encoding='utf-8')
    wanted = [p.name for p in parameters() if p.name.startswith('image.')]
    assert len(wanted) >= 5 and [name for name in wanted if name not in page] == []


SAFETY = (DOC / 'safety.md').read_text(encoding='utf-8')


def rules():
    """Cells of the tables of the safety page."""
    rows = [line.strip('| ').split(' | ') for line in SAFETY.splitlines() if line.startswith('| ')]
    return [row for row in rows if row[0] != 'rule' and not row[0].startswith('---')]


def test_every_safety_rule_names_its_place_and_a_test_that_exists():
    assert len(rules()) > 50
    for rule, _, tests in rules():
        named = re.findall(r'`([\w/]+\.py)::(test_\w+)`', tests)
        assert named and len(named) == tests.count('`') // 2, rule
        for file, name in named:
            text = (DOC.parent / 'test' / file).read_text(encoding='utf-8')
            assert re.search(rf'^def {name}\(', text, re.MULTILINE), f'{file}::{name}'


def test_every_place_that_a_safety_rule_names_exists():
    for rule, places, _ in rules():
        named = re.findall(r'`([\w/]+)((?:\.\w+)*)`', places)
        assert named, rule
        for module, path in named:
            text = (DOC.parent / 'dysl_vla_ros' / f'{module}.py').read_text(encoding='utf-8')
            for name in path.split('.')[1:]:
                assert re.search(rf'(def|class) {name}\b|^{name} = ', text, re.MULTILINE), name
