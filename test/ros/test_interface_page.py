"""The page of reference says what the code and the running nodes have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dysl_vla_ros.ros import interface_page

pytestmark = pytest.mark.ros
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'doc' / 'reference.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('part', ['launch_arguments', 'sim_parameters', 'command_topics'])
def test_the_page_has_what_the_code_has(part):
    assert getattr(interface_page, part)() in PAGE, f'run: {interface_page.COMMAND}'


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_page_has_what_the_running_nodes_have():
    done = subprocess.run(
        [sys.executable, '-m', 'dysl_vla_ros.ros.interface_page'], cwd=ROOT, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    def parts(page):
        return dict(re.findall(r'^## (.*?)\n\n(.*?)(?=^## |\Z)', page, re.DOTALL | re.MULTILINE))

    found, wanted = parts(done.stdout), parts(PAGE)
    assert found.keys() == wanted.keys()
    for title in found:
        if 'diagnostics' not in title:
            assert found[title] == wanted[title], f'run: {interface_page.COMMAND}'
    keys = [set(re.findall(r'`([\w.]+)`', page)) for page in (done.stdout, PAGE)]
    assert keys[0] - keys[1] == set()
