"""The twin of ``Policy`` whose model runs in a process of its own: the same calls."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import Manifest, manifest_from_dict
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import Observation, SkipPlan
from dysl_vla_ros.errors import BundleError, EngineError, ModelProcessError
from dysl_vla_ros.policy import Pass, instruction_tokens, load_tokenizer, unknown_words
from dysl_vla_ros.policy_process.messages import (
    StateToken,
    ask_for_pass,
    read_error,
    read_pass,
)
from dysl_vla_ros.policy_process.process import SERVER, ModelProcess, spawning_thread
from dysl_vla_ros.policy_process.shared_memory import SharedMemory
from dysl_vla_ros.policy_process.wire import Bounds, Message, WireError

OPEN_TIMEOUT_S = 300.0
"""Reading and warming up several gigabytes from a slow disk takes minutes."""
_OPEN_BOUNDS = Bounds(header=16 << 20, body=64 << 20)  # manifest and tokenizer
_CLOSE_S = 1.0


class ProcessPolicy:
    """``kill`` belongs to any thread; ``learn``, passes and ``restart`` to one.

    Attributes:
        manifest: The contract of the bundle.
        engine: What is read of an engine: ``device`` and ``close``.
        restarts: Processes started after the first one.
        link: Of its link to a policy server, as of the last answer; nothing without one.
    """

    def __init__(
        self,
        config: EngineConfig | None = None,
        server: Sequence[str] = SERVER,
        open_timeout: float = OPEN_TIMEOUT_S,
    ) -> None:
        """Start the process and let it open and warm up the policy.

        Args:
            config: Which bundle, and how long a pass may take.
            server: Command of the process.
            open_timeout: Longest time to open [s].

        Raises:
            BundleError: As ``open_policy`` in the process says.
            EngineError: Likewise, or the process died or hung.
            ConfigError: Likewise.
        """
        self._config = config or EngineConfig()
        self._server = server
        self._open_timeout = open_timeout
        self._spawner = spawning_thread()
        self._memory = SharedMemory.create()
        self._lock = threading.Lock()
        self._cancelled = ''
        self._closed = False
        self.restarts = 0
        self.link: dict[str, str] = {}
        self._last_end = ''
        self._learns, self._learnt = False, ''
        self._process: ModelProcess | None = None
        try:
            self.manifest, text, device = self._open(tokenizer=True)
            self._tokenizer = load_tokenizer(self.manifest, text)
        except BaseException:
            self._close()
            raise
        self.engine = RemoteEngine(self, device)

    @property
    def alive(self) -> bool:
        """Whether the process can be asked."""
        process = self._process
        return process is not None and process.alive

    @property
    def last_end(self) -> str:
        """How the last process ended, ``'died of SIGSEGV'``; '' while the first one lives."""
        process = self._process
        if process is not None and not process.alive:
            self._last_end = process.describe_end()
        return self._last_end

    @property
    def pid(self) -> int | None:
        """Process id; None where none was started."""
        return None if self._process is None else self._process.pid

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """As ``Policy.tokens``: checked on this side, so that nobody waits for a pass.

        Raises:
            InputError: It is empty, too long, or has more tokens than the model takes.
        """
        return instruction_tokens(self.manifest.instruction, self._tokenizer, instruction)

    def unknown_words(self, instruction: str) -> tuple[str, ...]:
        """As ``Policy.unknown_words``; on this side."""
        return unknown_words(self._tokenizer, instruction)

    def learn(self, instruction: str) -> None:
        """As ``Policy.learn``; again in each new process. It may take as long as opening.

        Raises:
            InputError: As ``tokens``.
            EngineError: The back end failed.
            ModelProcessError: The process died or hung.
        """
        if instruction == self._learnt or not self._learns:
            return
        self.tokens(instruction)
        answer = self._ask(Message('learn', {'instruction': instruction}), self._open_timeout)
        if answer.kind != 'learnt':
            raise self._reject(WireError(f'answer {answer.kind[:40]!r}: expected learnt'))
        self._learnt = instruction

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """As ``Policy.predict``; what was not learnt yet is first, with time of its own.

        Raises:
            InputError: The observation does not fit.
            EngineError: The back end failed, or the plan does not fit the layers.
            ModelProcessError: The process died or hung; ``restart`` starts another.
        """
        self.learn(observation.instruction)
        return self._pass(
            ask_for_pass('predict', observation, plan, self.manifest),
            observation.stamp, observation.instruction,
        )  # fmt: skip

    def compare(self, observation: Observation, plan: SkipPlan) -> Pass:
        """As ``Policy.compare``; raises as ``predict``."""
        self.learn(observation.instruction)
        return self._pass(
            ask_for_pass('compare', observation, plan, self.manifest),
            observation.stamp, observation.instruction,
        )  # fmt: skip

    def rerun(self, first: Pass) -> Pass:
        """As ``Policy.rerun``.

        Raises:
            EngineError: ``first`` skipped nothing, or its state is not kept any more.
            ModelProcessError: The process died or hung.
        """
        token = first.trace.resume_state
        if first.trace.resume_layer is None:
            raise EngineError(f'a {first.mode} pass without a jump: expected a skipped pass')
        if not isinstance(token, StateToken):
            raise EngineError(f'resume_state = {token!r}: expected one of this process')
        if token.process != self.restarts:
            raise EngineError('the state of this pass is lost: the model process was restarted')
        request = Message('rerun', {'token': token.number})
        return self._pass(request, first.stamp, first.instruction)

    def kill(self, reason: str) -> None:
        """End the process at once; a pass that waits for it fails. From any thread.

        Args:
            reason: Becomes part of ``last_end``.
        """
        with self._lock:
            self._cancelled = reason
            if self._process is not None:
                self._process.kill(reason)

    def restart(self) -> None:
        """Start and open a process again; takes as long as opening does.

        Raises:
            BundleError: The bundle is not the same any more, or is broken now.
            EngineError: It cannot be opened, or the process died again, or was killed meanwhile.
        """
        if self._closed:
            raise EngineError('the model process was closed: open the policy again')
        if self._process is not None:
            if self._process.alive:
                self._process.kill('was replaced')
            self._last_end = self._process.describe_end()
            self._process.close()
        with self._lock:
            self._cancelled = ''
        self.restarts += 1
        manifest, _, device = self._open(tokenizer=False)
        if manifest != self.manifest:
            error = BundleError(
                f'bundle {manifest.name} was changed while it ran: expected the one that was '
                'opened; clean up and configure again'
            )
            self._give_up(error)
            raise error
        self.engine.device = device

    def _open(self, tokenizer: bool) -> tuple[Manifest, str, str]:
        """A new process: manifest, JSON of the tokenizer (if asked for), device."""
        process = ModelProcess(self._spawner, self._memory, self._server)
        with self._lock:
            self._process = process
            if self._cancelled or self._closed:
                process.kill(self._cancelled or 'closed')
        request = Message(
            'open', {'engine': dataclasses.asdict(self._config), 'tokenizer': tokenizer}
        )
        try:
            answer = self._ask(request, self._open_timeout, _OPEN_BOUNDS)
        except ModelProcessError as error:
            raise ModelProcessError(f'{error}, while it opened the bundle') from None
        except BaseException as error:
            self._give_up(error)
            raise
        try:
            if answer.kind != 'opened':
                raise WireError(f'answer {answer.kind[:40]!r}: expected opened')
            self._learns, self._learnt = answer.values.get('learns') is True, ''
            manifest = manifest_from_dict(answer.values.get('manifest'))
            return manifest, _text(answer, 'tokenizer'), str(answer.values.get('device'))
        except BundleError as error:
            raise self._reject(WireError(str(error))) from None
        except WireError as error:
            raise self._reject(error) from None

    def _pass(self, request: Message, stamp: float, instruction: str) -> Pass:
        answer = self._ask(request, self._config.pass_timeout_s)
        try:
            return read_pass(answer, stamp, instruction, self.manifest, self.restarts)
        except WireError as error:
            raise self._reject(error) from None

    def _ask(self, request: Message, timeout: float, bounds: Bounds | None = None) -> Message:
        assert self._process is not None
        answer = self._process.ask(request, timeout, bounds)
        _log(answer)
        self.link = _link(answer)
        if answer.kind == 'error':
            raise read_error(answer)
        return answer

    def _reject(self, error: WireError) -> ModelProcessError:
        assert self._process is not None
        self._process.reject(error)
        return ModelProcessError(f'the model process {self._process.describe_end()}')

    def _give_up(self, error: BaseException) -> None:
        """A process that lives, but with which nothing can be done."""
        assert self._process is not None
        self._process.kill(f'cannot open the bundle: {error}')

    def _close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            process = self._process
        if process is not None:
            process.close(_CLOSE_S)
        self._spawner.shutdown(wait=False)
        self._memory.close()


class RemoteEngine:
    """What is read of the engine in the other process."""

    def __init__(self, policy: ProcessPolicy, device: str) -> None:
        """Args: its owner, and the device in words."""
        self.device = device
        self._policy = policy

    def close(self) -> None:
        """End the process within two seconds; a second call does nothing."""
        self._policy._close()


def _text(answer: Message, name: str) -> str:
    data = answer.arrays.get(name)
    if data is None or data.dtype != np.uint8:
        raise WireError(f'{name}: missing')
    return data.tobytes().decode('utf-8', errors='replace')


def _link(answer: Message) -> dict[str, str]:
    """What the process says about its link, as text, bounded."""
    said = answer.values.get('link')
    pairs = list(said.items())[:20] if isinstance(said, dict) else []
    return {
        key[:40]: value[:300] if isinstance(value, str) else f'{value:g}'
        for key, value in pairs if isinstance(value, (str, int, float))
    }  # fmt: skip


def _log(answer: Message) -> None:
    """What the process logged is logged here, where the node's handlers are."""
    records = answer.values.get('logs')
    for record in records if isinstance(records, list) else ():
        if isinstance(record, list) and len(record) == 3 and type(record[0]) is int:
            logging.getLogger(str(record[1])).log(record[0], '%s', record[2])
