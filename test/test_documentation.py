"""The documentation says what the code does."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

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
