"""What an engine offers beyond the protocol so that its segments can be compared one by one."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.engines.engine import Hidden


@runtime_checkable
class Inspectable(Protocol):
    """Hidden states of this engine can be read and set; for ``dysl verify``, never on the arm."""

    def read(self, hidden: Hidden) -> NDArray[np.float32]:
        """A copy of the state, float32, shape (1, tokens, width); waits for the device."""

    def write(self, values: NDArray[Any]) -> Hidden:
        """A state with these values; no gate is known for it, the mask stays the last one."""
