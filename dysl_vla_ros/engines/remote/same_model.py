"""Whether it is the model that it was: a server that comes back may be somebody else's by then.

The arm goes on by itself once its link is back, so that what answers then must be what was there
when the node was configured.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from dysl_vla_ros.engines.remote.contract import Contract
from dysl_vla_ros.engines.remote.request import ASK, check_meaning
from dysl_vla_ros.errors import LinkError

_log = logging.getLogger(__name__)
MODEL, JOINTS, CONTRACT = 'model', 'joint_names', 'contract'
"""What a server of ours says of itself: the digest of its bundle, the joints in its order, and the
digest of the contract by which it reads requests and answers."""
_SHOWN = 12


class SameModel:
    """Looks at what a server says at each connection. Called by the link's thread alone."""

    def __init__(self, contract: Contract, digest: str = '') -> None:
        """Nothing seen yet.

        Args:
            contract: By which answers are read.
            digest: Of the bundle that the contract was taken from; '' for another source.
        """
        self._contract, self._digest = contract, digest
        self._first: Any = None

    def __call__(self, said: Mapping[str, Any]) -> None:
        """Look at one connection.

        Args:
            said: What the server says when it begins.

        Raises:
            LinkError: Its answers mean something else, its joints are others or stand in another
                order, or it has another model or contract than at the first connection.
        """
        check_meaning(said, self._contract)
        ours = ASK in said
        if ours:
            _check_joints(said.get(JOINTS), self._contract.action.joint_names)
        # Others say what they like, but of the same model the same.
        model = said.get(MODEL)
        now = {MODEL: model, CONTRACT: said.get(CONTRACT)} if ours else dict(said)
        if self._first is None:
            self._first = now
            if ours and self._digest and model != self._digest:
                _log.warning('the server runs another bundle than the one here, %s: %s; its '
                             'numbers are read by the one here',
                             self._digest[:_SHOWN], str(model)[:_SHOWN])  # fmt: skip
        elif now != self._first:
            raise LinkError(f'the server came back {_changed(self._first, now, ours)}: '
                            'clean up and configure the node to take it')  # fmt: skip


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], ours: bool) -> str:
    if not ours:
        return 'and says something else of itself'
    kind = MODEL if before.get(MODEL) != now[MODEL] else CONTRACT
    return (f'with another {kind} ({str(now[kind])[:_SHOWN]}, before '
            f'{str(before.get(kind))[:_SHOWN]})')  # fmt: skip


def _check_joints(found: Any, wanted: tuple[str, ...]) -> None:
    if wanted and isinstance(found, list) and found and tuple(found) != wanted:
        raise LinkError(
            f'the server says joint_names = {found}: expected {list(wanted)}, as the contract '
            'has them, in that order; is it the same bundle on both sides?'
        )
