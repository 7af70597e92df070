"""Topics on which a policy's node reports: no camera took them, and no arm followed them."""

from __future__ import annotations

import re

_PREDICTED = re.compile(r'./action_chunk(?:/|$)')
_SEEN = re.compile(r'./seen/')
_REPORTED = re.compile(r'./(?:seen|shadow|camera_check)/|./(?:action_chunk|layers)(?:/|$)')


def is_report(topic: str) -> bool:
    """Whether a node says, draws or would have sent it: ``~/seen/*``, ``~/shadow/*``, ..."""
    return _REPORTED.search(topic) is not None


def is_prediction(topic: str) -> bool:
    """Whether it is ``~/action_chunk``: in the policy's units, executed or not."""
    return _PREDICTED.search(topic) is not None


def is_seen(topic: str) -> bool:
    """Whether it is ``~/seen/<camera>``: a picture of each pass, as the model had it."""
    return _SEEN.search(topic) is not None
