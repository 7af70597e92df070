"""The processes of a campaign: arm, node, policy server; started, hurt and started again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from dysl_vla_ros.ros.chaos import proc
from dysl_vla_ros.ros.chaos.environment import Environment

NODE = 'vla_node'
ARM = 'sim_arm'
SERVER = 'serve'
SPOILT = '/chaos'
"""Namespace of the relayed topics: what the node hears, and what the arm is told."""

_NODE_TOPICS = ('image', 'joint_states', 'robot_description')
_ARM_TOPICS = ('joint_trajectory',)
_PATIENCE_S = 6.0


class Graph:
    """Keeps the processes and their logs; as a context manager it ends what it started."""

    def __init__(self, tested: Environment, engine: str, seed: int = 0) -> None:
        """Args: whose executables, ``engine.path``, and the seed of the arm's scene."""
        self.tested = tested
        self._engine = engine
        self._seed = seed
        self._folder = tempfile.TemporaryDirectory(prefix='dysl_chaos_')
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._has_model = False
        self._heard = 0

    def __enter__(self) -> Graph:
        """Nothing runs yet."""
        return self

    def __exit__(self, *unused: object) -> None:
        """End all."""
        for name in (NODE, ARM, SERVER):
            self.end(name)
        self._folder.cleanup()

    # ---- start and end -----------------------------------------------------------------------

    def start_arm(self) -> None:
        """The simulated arm, listening where the relay speaks."""
        words = ['-p', f'seed:={self._seed}', '-p', 'episodes.auto:=false']
        words += ['-p', 'beside_others:=true']  # no second spent on looking around
        for topic in _ARM_TOPICS:
            words += ['-r', f'{topic}:={SPOILT}/{topic}']
        self._start(ARM, words)

    def start_node(self, parameters: Mapping[str, str] | None = None) -> None:
        """The node with the simulation's preset, hearing what the relay passes on.

        Args:
            parameters: Name -> YAML text, over those of the preset.
        """
        preset = self.tested.preset
        words = [] if preset is None else ['--params-file', str(preset)]
        given = {'autostart': 'true', 'engine.path': f"'{self._engine}'"}
        if preset is None:
            given |= {'armed': 'true', 'start_on_instruction': 'true'}
        for name, value in {**given, **(parameters or {})}.items():
            words += ['-p', f'{name}:={value}']
        for topic in _NODE_TOPICS:
            words += ['-r', f'{topic}:={SPOILT}/{topic}']
        self._start(NODE, words)

    def start_server(self) -> None:
        """A server of the policy that the node would run; ``server_url`` says where."""
        self._heard = self.log_size(SERVER)
        command = ['dysl_vla_ros.cli.main', 'serve', '--port', '0', '--host', '127.0.0.1']
        self._start_module(SERVER, [*command, *filter(None, [self._engine])])

    def server_url(self) -> str:
        """Where the newest server listens; '' before it says so."""
        found = re.search(r'(ws://\S+) \(openpi\)', self.log(SERVER, self._heard))
        return found[1] if found else ''

    def end(self, name: str) -> int | None:
        """SIGINT, wait, SIGKILL if need be; the exit code, or None when it did not run."""
        process = self._running.pop(name, None)
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)
        try:
            code = process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        with contextlib.suppress(ProcessLookupError):  # a child that outlived it
            os.killpg(process.pid, signal.SIGKILL)
        return code

    def _start(self, name: str, words: list[str]) -> None:
        self._start_module(name, [f'dysl_vla_ros.ros.{name}', '--ros-args', *words])

    def _start_module(self, name: str, words: list[str]) -> None:
        self.end(name)
        command = [self.tested.python, '-m', *words]
        with self._log(name).open('ab') as stream:
            self._running[name] = subprocess.Popen(
                command, env=self.tested.env, cwd=self._folder.name,
                stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    # ---- look and hurt -----------------------------------------------------------------------

    def alive(self, name: str) -> bool:
        """Whether it runs."""
        process = self._running.get(name)
        return process is not None and process.poll() is None

    def exit_code(self, name: str) -> int | None:
        """Of a process that ended by itself, else None."""
        process = self._running.get(name)
        return None if process is None else process.poll()

    def pid(self, name: str) -> int:
        """Process id; 0 when it never ran."""
        process = self._running.get(name)
        return 0 if process is None else process.pid

    def model(self) -> int:
        """The process that runs the model: the node's child, or in older packages the node.

        Returns:
            Its process id; 0 while the node has not replaced one that ended.
        """
        found = proc.model_process(self.pid(NODE))
        self._has_model = self._has_model or found is not None
        return found or (0 if self._has_model else self.pid(NODE))

    def send(self, pid: int, number: signal.Signals) -> None:
        """A signal to a process of this graph; one that ended gets none."""
        own = [self.pid(NODE), self.pid(ARM), self.pid(SERVER), *proc.children(self.pid(NODE))]
        if pid and pid in own:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stall(self, pid: int, seconds: float) -> None:
        """SIGSTOP, wait, SIGCONT."""
        self.send(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self.send(pid, signal.SIGCONT)

    def log(self, name: str, since: int = 0) -> str:
        """What a process printed, from byte ``since`` on."""
        try:
            with self._log(name).open('rb') as stream:
                stream.seek(since)
                return stream.read().decode(errors='replace')
        except OSError:
            return ''

    def log_size(self, name: str) -> int:
        """Bytes printed so far."""
        try:
            return self._log(name).stat().st_size
        except OSError:
            return 0

    @property
    def folder(self) -> Path:
        """For files of a campaign; gone at its end."""
        return Path(self._folder.name)

    def _log(self, name: str) -> Path:
        return Path(self._folder.name) / f'{name}.log'
