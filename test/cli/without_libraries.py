"""Calls of ``dysl`` that could be meant, each without one library that it needs.

Run as a program it makes each in a process of its own, forked from one that has loaded what every
command needs, and prints what each said.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from pathlib import Path

_LONGEST_S = 100
"""A call that runs on instead of refusing ends."""

# The library that is missing, the call. Names in capitals are places: see ``places``.
CALLS = [
    ('PIL', 'film'),
    ('PIL', 'evaluate --videos OUT'),
    ('PIL', 'collect OUT'),
    ('PIL', 'import SET OUT'),
    ('PIL', 'view'),
    ('aiohttp', 'view'),
    ('aiohttp', 'demo --view --seconds 1'),
    ('av', 'film --out OUT.mp4'),
    ('av', 'evaluate --videos OUT'),
    ('av', 'import SET OUT'),
    ('mcap', 'replay BAG'),
    ('mcap', 'film --bag BAG'),
    ('mcap', 'calibrate BUNDLE --bag BAG'),
    ('mcap', 'import BAG OUT'),
    ('mcap', 'demo --headless --seconds 1 record:=true'),
    ('rosbags', 'replay BAG'),
    ('rosbags', 'film --bag BAG'),
    ('rosbags', 'import BAG OUT'),
    ('websockets', 'serve'),
    ('websockets', 'evaluate --modes remote --links 0 --latency 0 --episodes 1'),
    ('msgpack', 'serve'),
    ('msgpack', 'evaluate --modes verified --links 0 --latency 0 --episodes 1'),
    ('mujoco', 'film'),
    ('mujoco', 'evaluate --episodes 1'),
    ('mujoco', 'collect OUT'),
    ('mujoco', 'recipe --folder OUT'),
    ('pinocchio', 'evaluate --episodes 1'),
    ('pinocchio', 'film'),
    ('onnxruntime', 'bench --runs 1'),
    ('onnxruntime', 'evaluate --episodes 1'),
    ('onnxruntime', 'film'),
    ('onnxruntime', 'serve'),
    ('onnxruntime', 'verify BUNDLE'),
    ('rclpy', 'demo --headless --seconds 1'),
    ('rclpy', 'chaos'),
    ('rclpy', 'soak'),
    ('rclpy', 'view'),
    ('matplotlib', 'evaluate --plot OUT.png'),
    ('matplotlib', 'replay BAG --plot OUT.png'),
    ('matplotlib', 'soak --plot OUT.png'),
    ('matplotlib', 'calibrate TENSORS --dataset SET'),
    ('matplotlib', 'train SET --out OUT'),
    ('torch', 'train SET --out OUT'),
    ('torch', 'calibrate BUNDLE'),
    ('torch', 'distill TENSORS --dataset SET --out OUT'),
    ('torch', 'export TENSORS OUT'),
    ('torch', 'recipe --folder OUT'),
    ('torch', 'verify BUNDLE --against TENSORS'),
    ('accelerate', 'train SET --out OUT'),
    ('accelerate', 'recipe --folder OUT'),
    ('pyarrow', 'train SET --out OUT'),
    ('pyarrow', 'collect OUT'),
    ('pyarrow', 'import SET OUT'),
    ('safetensors', 'export TENSORS OUT'),
    ('onnx', 'recipe --folder OUT'),
    ('onnxscript', 'recipe --folder OUT'),
]


def places(root: Path) -> dict[str, str]:
    """Make what the calls name; word -> path."""
    bundled = Path(__file__).resolve().parents[2] / 'resource' / 'models' / 'tabletop'
    (root / 'set' / 'meta').mkdir(parents=True)
    (root / 'set' / 'meta' / 'info.json').write_text('{"codebase_version": "v3.0"}')
    header = b'{"__metadata__": {"kind": "dysl_vla_checkpoint_1"}}'
    (root / 'my.safetensors').write_bytes(len(header).to_bytes(8, 'little') + header)
    (root / 'my.mcap').write_bytes(b'\x89MCAP0\r\n' + bytes(64))
    return {'BUNDLE': str(bundled), 'SET': 'set', 'TENSORS': 'my.safetensors', 'BAG': 'my.mcap',
            'OUT': 'out'}  # fmt: skip


def said(missing: str, words: list[str]) -> tuple[int, str, str]:
    """What a call says where a library is missing; ends this process's use of it."""
    from dysl_vla_ros.cli.main import main as dysl

    for name in [name for name in sys.modules if name.split('.')[0] == missing]:
        del sys.modules[name]
    sys.modules[missing] = None  # type: ignore[assignment]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = dysl(words)
    return code, out.getvalue(), err.getvalue()


def main() -> None:
    """Make all calls here, in the current folder; print what each said."""
    # What every command needs is loaded once.
    import numpy  # noqa: F401
    import rich.progress  # noqa: F401

    known, found = places(Path.cwd()), []

    def there() -> set[str]:
        beside = Path(known['BUNDLE']).parent
        return {str(path) for folder in (Path.cwd(), beside) for path in folder.iterdir()}

    for missing, call in CALLS:
        before = there()
        words = [known.get(word, word).replace('OUT.', 'out.') for word in call.split()]
        read, write = os.pipe()
        child = os.fork()
        if not child:
            signal.alarm(_LONGEST_S)
            with os.fdopen(write, 'w') as stream:
                json.dump(said(missing, words), stream)
                stream.flush()
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as stream:
            answer = json.loads(stream.read() or '[-1, "", "died"]')
        os.waitpid(child, 0)
        found.append([*answer, sorted(there() - before)])
    print(json.dumps(found))


if __name__ == '__main__':
    main()
