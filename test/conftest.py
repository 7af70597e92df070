"""Shared helpers, and the offline tests (torch) as part of ``make test-all``."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import strangers

try:
    from hypothesis import settings
except ImportError:  # the tests that need it say so
    pass
else:
    # No example may fail for the time that a loaded machine takes.
    settings.register_profile('any machine', deadline=None)
    settings.load_profile('any machine')

HERE = Path(__file__).parent
# Helpers that tests of several folders share: ``import tiny_bundle``, ``import tiny_oft``.
# Tests of engines lie flat: a folder test/engines/tensorrt would be importable as ``tensorrt``.
HELPERS = ('.', 'bundle', 'engines', 'gpu', 'lab/data', 'lab/learn', 'lab/model')
sys.path[:0] = [str(HERE / folder) for folder in HELPERS]

FAST = 'not slow and not gpu'  # as in pyproject.toml
SLOW_SECONDS = 1500
"""Of a test marked slow that says nothing else: a busy machine takes many times as long."""
# Of lab/, all but the evaluation.
OFFLINE = ('lab/model', 'lab/data', 'lab/worlds', 'lab/learn', 'lab/guidance', 'lab/export')
HAVE_TORCH = importlib.util.find_spec('torch') is not None
# Whole folders: their conftest.py imports torch too.
collect_ignore = [] if HAVE_TORCH else list(OFFLINE)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """A machine with a GPU and little else has no pytest-timeout: then nothing is timed."""
    if importlib.util.find_spec('pytest_timeout') is None:
        parser.addini('timeout', 'read by pytest-timeout')


def pytest_configure(config: pytest.Config) -> None:
    """Likewise its marker; and the fast tests do without torch, as a newcomer's must.

    Where it is installed, one that needs it would pass, and fail on every other machine.
    """
    config.addinivalue_line('markers', 'timeout(seconds): read by pytest-timeout')
    if config.option.markexpr == FAST and 'torch' not in sys.modules:
        sys.modules['torch'] = None  # type: ignore[assignment]  # import and find_spec: not there
        collect_ignore[:] = OFFLINE


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``-m gpu`` reads nothing but test/gpu: the rest needs a simulator, ROS or a network."""
    if config.option.markexpr != 'gpu' or not collection_path.is_relative_to(HERE):
        return None
    place = HERE / 'gpu'
    inside = collection_path in (HERE, place) or place in collection_path.parents
    return None if inside and not collection_path.name.endswith('_on_the_cpu.py') else True


def pytest_report_header() -> str:
    """Say what is left out, and how to run it."""
    folders = ', '.join(f'test/{folder}' for folder in OFFLINE)
    graphs = {'none': 'left out', 'only': 'alone'}.get(os.environ.get('DYSL_GRAPHS', ''))
    if graphs:
        folders = f'tests that start nodes: {graphs}; {folders}'
    if HAVE_TORCH:
        return f'{folders}: marked slow (torch)'
    return f'torch is not installed: {folders} are left out; make test-all runs them'


# Libraries that a machine with ROS 2 from apt may lack: what needs one is skipped, and says so.
OPTIONAL = {
    'mujoco': "python3 -m pip install 'mujoco-core>=4.0,<4.1' (Python 3.10: 'mujoco>=3.3,<4')",
    'hypothesis': 'apt install python3-hypothesis',
    'onnx': 'python3 -m pip install onnx',
    'onnxruntime': 'python3 -m pip install onnxruntime',
    'pinocchio': 'apt install ros-$ROS_DISTRO-pinocchio',
    'rclpy': 'source ROS 2',
    'rich': 'apt install python3-rich',
    'tokenizers': 'python3 -m pip install tokenizers',
    'PIL': 'apt install python3-pil',
    'transformers': "python3 -m pip install 'transformers>=5,<6'",
    'yaml': 'apt install python3-yaml',
}


class ModuleOrSkip(pytest.Module):
    """A file of tests; one that imports what is not installed is skipped with the reason."""

    def _getobj(self) -> Any:
        # 'from conftest import ...' means the folder's own: pytest 7 would give the last one read.
        nearest = str(self.path.parent / 'conftest.py')
        for plugin in self.config.pluginmanager.get_plugins():
            if getattr(plugin, '__file__', None) == nearest:
                sys.modules['conftest'] = plugin
        try:
            return super()._getobj()
        except self.CollectError as error:
            lacking = _lacking(error.__cause__)
            if not lacking or os.environ.get('DYSL_REQUIRE_ALL'):
                raise
            reason = f'{lacking} is not installed: {OPTIONAL[lacking]}'
            pytest.skip(reason, allow_module_level=True)


def _lacking(error: BaseException | None) -> str:
    name = (error.name or '').split('.')[0] if isinstance(error, ModuleNotFoundError) else ''
    return name if name in OPTIONAL else ''


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> Any:
    """Our own kind of module, in our own folder."""
    if not module_path.is_relative_to(HERE):
        return None
    return ModuleOrSkip.from_parent(parent, path=module_path)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Long values get a short name: one of 300,000 letters stops colcon, which reads lines."""
    text = val if isinstance(val, str) else repr(val) if isinstance(val, (bytes, int)) else ''
    shown = text[:40].encode('ascii', 'backslashreplace').decode()
    return f'{shown}... {len(text)} letters' if len(text) > 100 else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the offline parts are slow: importing torch alone takes seconds.

    ``DYSL_GRAPHS=none`` leaves out the tests that start nodes, ``only`` runs no others: those
    wait for messages, and want processors that the others do not fill.
    """
    asked = os.environ.get('DYSL_GRAPHS', '')
    kept, left_out = [], []
    for item in items:
        if any(item.path.is_relative_to(HERE / folder) for folder in OFFLINE):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker('slow') and not item.get_closest_marker('timeout'):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
        graph = item.path.is_relative_to(HERE / 'ros') or bool(item.get_closest_marker('ros'))
        (left_out if asked == ('none' if graph else 'only') else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path with the stranger's package installed in it."""
    place = tmp_path / 'site'
    strangers.install(place)
    monkeypatch.syspath_prepend(str(place))
    yield place
    strangers.forget(sys.modules)
