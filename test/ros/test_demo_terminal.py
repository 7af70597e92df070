"""`dysl demo` in a terminal (a pseudo-terminal of some size), in a pipe, beside a deaf node."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from conftest import wait_for

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
HOME = '\x1b[H'


class Terminal:
    """A demo in a terminal; what it shows now, and keys."""

    def __init__(self, columns: int, rows: int, *words: str, **variables: str) -> None:
        self._seen = b''
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            # Not as the process has it: readline sets COLUMNS behind Python's back, and that would
            # stand above the terminal's own size.
            kept = {k: v for k, v in os.environ.items() if k not in ('COLUMNS', 'LINES')}
            command = [sys.executable, '-m', 'dysl_vla_ros.cli.main', 'demo', *words]
            os.execve(sys.executable, command, {**kept, 'TERM': 'xterm-256color', **variables})
        self.resize(columns, rows)
        self.code: int | None = None

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._file, keys.encode())

    def raw(self) -> str:
        """All that was written so far."""
        while self.code is None and select.select([self._file], [], [], 0.05)[0]:
            try:
                data = os.read(self._file, 65_536)
            except OSError:
                data = b''
            if not data:
                self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._seen += data
        return self._seen.decode(errors='ignore')  # whole: a letter may come in two parts

    def screen(self) -> list[str]:
        """Lines of the newest whole picture."""
        frames = self.raw().split(HOME)
        shown = frames[-2] if len(frames) > 2 else ''
        return re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', shown).replace('\r', '').split('\n')

    def wait(self, word: str, timeout: float = 120.0) -> list[str]:
        return list(wait_for(
            lambda: next((s for s in [self.screen()] if word in '\n'.join(s)), None), timeout,
            f'{word!r} in\n' + '\n'.join(self.screen()),
        ))  # fmt: skip

    def end(self) -> int:
        wait_for(lambda: self.raw() and self.code is not None, 60.0, 'the end')
        assert self.code is not None
        return self.code


@pytest.fixture
def terminal():
    made = []

    def make(*words, **variables):
        made.append(Terminal(*words, **variables))
        return made[-1]

    yield make
    for item in made:
        if item.code is None:
            os.kill(item.pid, signal.SIGINT)
            item.end()


def test_a_person_tells_it_pauses_it_changes_the_mode_and_quits_at_80_by_24(terminal):
    made = terminal(80, 24)
    for word in ('reach', '▀▀▀', 'of 20 layers; dense', 'drop: ', 'won ', '██'):
        shown = made.wait(word)
    assert max(map(len, shown)) <= 80 and len(shown) <= 24
    made.press('iput the red cube into the bin')
    made.wait('> put the red cube into the bin_')
    made.press('\r')
    made.wait("answer 'put the red cube into the bin' follows")
    made.press('m')
    made.wait('mode compare')
    made.press('p')
    made.wait('answer paused')
    made.resize(120, 40)
    wait_for(lambda: max(map(len, made.screen())) == 120, 60.0, 'a wider screen')
    made.press('q')
    assert made.end() == 0
    assert '\x1b[?1049l' in made.raw() and 'Summary' in made.raw().rsplit('\x1b[?1049l', 1)[1]


def test_no_color_shows_no_colour_and_nonsense_is_refused_in_words(terminal):
    made = terminal(80, 24, NO_COLOR='1')
    shown = made.wait('pass ')
    assert not re.search(r'\x1b\[[0-9;]*(3[0-7]|4[0-7]|38|48)[;m]', made.raw())
    assert max(map(len, shown)) <= 80 and len(shown) <= 24
    made.wait('reach')
    made.press('ifetch a beer\r')
    made.wait('refused: instruction')
    made.press('q')
    assert made.end() == 0


def test_in_a_pipe_it_prints_lines_and_no_control_letters():
    done = subprocess.run(
        [sys.executable, '-m', 'dysl_vla_ros.cli.main', 'demo', '--engine', 'fake', '--seconds',
         '60'], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert '\x1b' not in done.stdout and 'layers in' in done.stdout
    assert done.returncode == 0, done.stdout


def test_a_node_that_falls_silent_ends_it_with_its_last_words_and_a_code():
    demo = subprocess.Popen(
        [sys.executable, '-u', '-m', 'dysl_vla_ros.cli.main', 'demo', '--engine', 'fake'],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert demo.stdout is not None
    for line in demo.stdout:
        if ' running ' in line:
            break
    (node,) = [int(p.name) for p in Path('/proc').glob('[0-9]*')
               if _is(p, demo.pid, 'ros.vla_node')]  # fmt: skip
    os.kill(node, signal.SIGSTOP)
    began = time.monotonic()
    said, _ = demo.communicate(timeout=200)
    assert time.monotonic() - began >= 14
    assert demo.returncode == 1
    assert 'nothing was heard of vla_node for 15 s (its state was ' in said
    assert '[vla_node]' in said.rsplit('its last words:', 1)[1]


def _is(folder: Path, parent: int, word: str) -> bool:
    try:
        return (
            f'PPid:\t{parent}\n' in (folder / 'status').read_text()
            and word in (folder / 'cmdline').read_text()
        )
    except OSError:
        return False
