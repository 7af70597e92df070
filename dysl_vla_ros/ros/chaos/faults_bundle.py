"""Bundles that are no bundles: the node must refuse them, and nothing may move."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dysl_vla_ros.ros.chaos.fault import Act, Fault
from dysl_vla_ros.ros.chaos.rig import Rig


def _with(**parameters: str) -> Act:
    named = {name.replace('__', '.'): value for name, value in parameters.items()}
    return lambda rig: rig.start_other(named)


def _copy(change: Callable[[Path], None]) -> Act:
    """A node over a changed copy of the tested environment's bundle."""

    def act(rig: Rig) -> None:
        source = rig.graph.tested.bundle
        if source is None:
            raise FileNotFoundError('the bundled policy of this environment')
        target = rig.graph.folder / 'bundle'
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        change(target)
        rig.start_other({'engine.path': f"'{target}'"})

    return act


def _alter_a_file(folder: Path) -> None:
    path = max(folder.rglob('*.onnx'), key=lambda found: found.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(bytes(data))


def _remove_a_file(folder: Path) -> None:
    sorted(folder.rglob('*.onnx'))[0].unlink()


def _manifest(change: Callable[[dict[str, Any]], Any]) -> Act:
    def alter(folder: Path) -> None:
        path = folder / 'manifest.json'
        document = json.loads(path.read_text(encoding='utf-8'))
        change(document)
        path.write_text(json.dumps(document), encoding='utf-8')

    return _copy(alter)


def _manifest_text(text: str) -> Act:
    def alter(folder: Path) -> None:
        (folder / 'manifest.json').write_text(text, encoding='utf-8')

    return _copy(alter)


def _set(place: tuple[str, ...], value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(document: Mapping[str, Any]) -> None:
        inner: Any = document
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value

    return change


def _bundle(name: str, act: Act, quick: bool = False) -> Fault:
    return Fault('bundle', name, act, graph='refused', hold=6.0, after=0.5, quick=quick)


BUNDLE = (
    _bundle('bundle missing', _with(engine__path="'/nowhere/at/all'"), quick=True),
    _bundle('a file altered', _copy(_alter_a_file), quick=True),
    _bundle('a file missing', _copy(_remove_a_file)),
    _bundle('manifest is no JSON', _manifest_text('{"format": ')),
    _bundle('manifest is a list', _manifest_text('[1, 2, 3]')),
    _bundle('depth 100,000', _manifest(_set(('layers_total',), 100_000))),
    _bundle('horizon 1e300', _manifest(_set(('action', 'horizon'), 1e300))),
    _bundle('unknown joints', _manifest(_set(('action', 'joint_names'), ['a', 'b', 'c']))),
    _bundle('another frame', _with(action__frame_id="'nowhere_link'")),
    _bundle('unknown tip', _with(action__tip_link="'nowhere_tip'")),
)
