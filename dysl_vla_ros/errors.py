"""The errors of the package; each message names the field, the value, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable


class DyslError(Exception):
    """Any error that this package raises on purpose."""


class ConfigError(DyslError):
    """A parameter, argument or YAML key is wrong; raised at configure time."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        """Build the message from its three parts.

        Args:
            field: Full name of the parameter, as the user writes it (``skip.mode``).
            value: What was found.
            expected: What would be right, as a phrase that follows "expected".
        """
        super().__init__(f'{field} = {value!r}: expected {expected}')
        self.field = field
        self.value = value
        self.expected = expected

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, object, str]]:
        """Made again from its parts, so that a worker's error arrives instead of hanging."""
        return type(self), (self.field, self.value, self.expected)


class InputError(DyslError):
    """An observation cannot be used (image, joints, instruction, stamp): the arm holds."""


class BundleError(DyslError):
    """The exported model folder is incomplete, altered, or of another format version."""


class EngineError(DyslError):
    """A back end cannot be opened on this machine, or failed in a pass."""


class ModelProcessError(EngineError):
    """The model's process died, hung or answered nonsense; a new one can be started."""


class ChunkError(DyslError):
    """A chunk of actions cannot be executed (not finite, no inverse kinematics, too far)."""


class KinematicsError(DyslError):
    """The robot description lacks a joint or frame, or a pose cannot be reached."""


class LinkError(DyslError):
    """A policy server is away, late, or answered what is no chunk: the arm holds."""


def as_list(problems: Iterable[object]) -> str:
    """``(1) one; (2) another``: all that is wrong, for one message."""
    return '; '.join(f'({number}) {text}' for number, text in enumerate(problems, start=1))
