"""What the model's process answers."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from dysl_vla_ros.bundle.manifest import manifest_to_dict
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.errors import DyslError, EngineError
from dysl_vla_ros.policy import Pass, Policy
from dysl_vla_ros.policy_process.exit_codes import NONSENSE, OUT_OF_MEMORY
from dysl_vla_ros.policy_process.messages import read_request, say_error, say_pass
from dysl_vla_ros.policy_process.shared_memory import SharedMemory
from dysl_vla_ros.policy_process.wire import Channel, Message, WireError
from dysl_vla_ros.remote_policy import open_anywhere

_log = logging.getLogger(__name__)
_KEPT_STATES = 2
_LOGS_KEPT, _LONGEST_LOG = 50, 2000

Open = Callable[[EngineConfig], tuple[Policy, str]]


def serve(stream: socket.socket, memory: int, opener: Open = open_anywhere) -> int:
    """Answer until the other side is gone.

    Args:
        stream: To the parent.
        memory: Descriptor of the shared memory.
        opener: Gives the policy, and the JSON of its tokenizer.

    Returns:
        Exit code.
    """
    logs = _Logs()
    logging.getLogger().addHandler(logs)
    logging.getLogger('dysl_vla_ros').setLevel(logging.INFO)
    shared = SharedMemory(memory, writable=False)
    shared.close_descriptor()
    channel = Channel(stream, shared)
    server = Server(opener)
    try:
        while True:
            answer = server.answer(channel.receive())
            beside = {'logs': logs.take(), 'link': server.link()}
            answer = Message(answer.kind, {**answer.values, **beside}, answer.arrays)
            channel.send(answer)
    except (EOFError, OSError):
        return 0
    except WireError as error:
        print(f'vla_model: {error}', file=sys.stderr, flush=True)
        return NONSENSE
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # at once: nothing here can be relied on any more
    finally:
        server.close()


class Server:
    """The policy, and the states from which its last passes can be run again."""

    def __init__(self, opener: Open) -> None:
        """Nothing is open yet."""
        self._opener = opener
        self._policy: Policy | None = None
        self._kept: OrderedDict[int, Pass] = OrderedDict()
        self._number = 0

    def answer(self, request: Message) -> Message:
        """One request; whatever it raises is the answer."""
        try:
            if request.kind == 'open':
                return self._open(request)
            if self._policy is None:
                raise EngineError(f'{request.kind} before open')
            if request.kind == 'learn':
                self._policy.learn(request.values['instruction'])
                return Message('learnt')
            return self._say(self._run(self._policy, request))
        except MemoryError:
            raise
        except DyslError as error:
            return say_error(error)
        except Exception as error:
            _log.exception('%s failed', request.kind)
            return say_error(error)

    def link(self) -> dict[str, str | float]:
        """Of the link to a policy server, for diagnostics; nothing without one."""
        report = getattr(self._policy, 'report', None)
        return {} if report is None else report()

    def close(self) -> None:
        """Release the device."""
        if self._policy is not None:
            self._policy.engine.close()

    def _open(self, request: Message) -> Message:
        policy, tokenizer = self._opener(EngineConfig(**request.values['engine']))
        self._policy = policy
        values: dict[str, Any] = {
            'manifest': manifest_to_dict(policy.manifest),
            'device': policy.engine.device,
            # A policy server has nothing to learn here.
            'learns': bool(getattr(policy, 'learns', False)),
        }
        # Only the first process is asked for it: reading it holds the asker's interpreter lock.
        wanted = tokenizer if request.values['tokenizer'] else ''
        return Message('opened', values, {'tokenizer': np.frombuffer(wanted.encode(), np.uint8)})

    def _run(self, policy: Policy, request: Message) -> Pass:
        if request.kind == 'rerun':
            number = request.values['token']
            if number not in self._kept:
                raise EngineError(
                    f'the state of pass {number} is lost: expected one of {list(self._kept)}'
                )
            return policy.rerun(self._kept[number])
        if request.kind not in ('predict', 'compare'):
            raise EngineError(f'{request.kind[:40]!r}: expected predict, compare or rerun')
        observation, plan = read_request(request)
        if request.kind == 'compare':
            return policy.compare(observation, plan)
        return policy.predict(observation, plan)

    def _say(self, result: Pass) -> Message:
        self._number += 1
        jumped = result if result.trace.resume_layer is not None else result.compared
        if jumped is not None and jumped.trace.resume_layer is not None:
            self._kept[self._number] = jumped
            while len(self._kept) > _KEPT_STATES:
                self._kept.popitem(last=False)
        return say_pass(result, self._number)


class _Logs(logging.Handler):
    """Keeps what is logged until the next answer takes it along."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[list[Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._records) < _LOGS_KEPT:
            text = self.format(record)[:_LONGEST_LOG]
            self._records.append([record.levelno, record.name, text])

    def take(self) -> list[list[Any]]:
        records, self._records = self._records, []
        return records
