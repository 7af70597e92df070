"""Which faults are tried in which order, and the report as it grows."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dysl_vla_ros.ros.chaos import (
    faults_bundle,
    faults_inputs,
    faults_people,
    faults_processes,
    faults_requests,
    faults_server,
)
from dysl_vla_ros.ros.chaos.case import Case
from dysl_vla_ros.ros.chaos.environment import find_environment
from dysl_vla_ros.ros.chaos.fault import Fault
from dysl_vla_ros.ros.chaos.graph import Graph
from dysl_vla_ros.ros.chaos.recording import Recording
from dysl_vla_ros.ros.chaos.relay import Relay
from dysl_vla_ros.ros.chaos.rig import Rig
from dysl_vla_ros.ros.chaos.trial import attempt

FAULTS: tuple[Fault, ...] = (
    *faults_inputs.CAMERA,
    *faults_inputs.JOINTS,
    *faults_people.HAND,
    *faults_people.STOPS,
    *faults_requests.REQUESTS,
    *faults_processes.MODEL,
    *faults_processes.NODE_FAULTS,
    *faults_inputs.CLOCK,
    *faults_requests.COMMANDER,
    *faults_bundle.BUNDLE,
    *faults_server.SERVER_FAULTS,
)
LEAST = 15
"""A limit of time never leaves fewer faults than this, where as many were chosen."""
_GRAPHS = ('refused', 'deadman', 'server', 'plain')
"""In this order: the node is started anew as seldom as possible, and a limit of time cuts where
most is."""
_SERVED_FIRST = 4
"""Faults of a policy server that a limit of time does not cut; the others come last."""


@dataclass(frozen=True)
class Options:
    """What a campaign runs.

    Attributes:
        prefix: Environment whose executables are tested; None: this one.
        engine: ``engine.path`` of the node; ``fake`` is the wiring policy.
        quick: The quick choice only.
        minutes: No trial begins after this; None: no limit.
        only: Kinds; empty: all.
        seed: Of the order, and of the arm's scene.
        domain: ROS domain.
    """

    prefix: Path | None = None
    engine: str = 'fake'
    quick: bool = False
    minutes: float | None = None
    only: tuple[str, ...] = ()
    seed: int = 0
    domain: int = 1


def chosen(options: Options) -> list[Fault]:
    """The faults in their order: one node configuration after another, the kinds in turn."""
    wanted = [
        fault for fault in FAULTS
        if (not options.only or fault.kind in options.only) and (fault.quick or not options.quick)
    ]  # fmt: skip
    shuffled = random.Random(options.seed).sample(wanted, len(wanted))
    rank: dict[str, int] = {}
    turn = {}
    for fault in shuffled:
        turn[fault.name] = rank[fault.kind] = rank.get(fault.kind, 0) + 1

    def place(fault: Fault) -> tuple[int, int]:
        late = fault.graph == 'server' and turn[fault.name] > _SERVED_FIRST
        return len(_GRAPHS) if late else _GRAPHS.index(fault.graph), turn[fault.name]

    return sorted(shuffled, key=place)


def run(options: Options, tell: Callable[[Case], None], tried: Sequence[Case] = ()) -> None:
    """Try the chosen faults, one after another.

    Args:
        options: Which, and over what.
        tell: Called with each case as soon as it is known.
        tried: Cases of a run that was broken off: their faults are not tried again.
    """
    done = {case.name for case in tried}
    faults = [fault for fault in chosen(options) if fault.name not in done]
    if not faults:
        return
    environment = find_environment(options.prefix, options.domain)
    began = time.monotonic()
    recording = Recording()
    with (
        Relay(environment.env, recording) as relay,
        Graph(environment, options.engine, options.seed) as graph,
        contextlib.ExitStack() as over,
    ):
        rig = Rig(graph, relay, recording, wiring=options.engine == 'fake')
        over.callback(rig.close)
        for number, fault in enumerate(faults):
            late = options.minutes is not None and time.monotonic() - began > 60 * options.minutes
            if late and number + len(done) >= LEAST:
                return
            tell(attempt(rig, fault))


def broken_off(document: Any, options: Options) -> list[Case]:
    """The cases of a report that an interruption left, where the same was asked for; else none.

    Args:
        document: JSON of ``report``.
        options: What is asked for now.
    """
    fresh = report([], options)
    same = ('engine', 'prefix', 'quick', 'only', 'seed', 'chosen')
    if not isinstance(document, dict) or document.get('complete') is not False:
        return []
    if any(document.get(name) != fresh[name] for name in same):
        return []
    known = {fault.name for fault in chosen(options)}
    try:
        cases = [Case(**entry) for entry in document['cases']]
    except (KeyError, TypeError):
        return []
    return cases if {case.name for case in cases} <= known else []


def report(cases: Sequence[Case], options: Options, complete: bool = False) -> dict[str, Any]:
    """The document of ``--json``.

    Args:
        cases: So far.
        options: Of the campaign.
        complete: Whether nothing is left to try in the time that was given.
    """
    counts = {
        name: sum(case.verdict == name for case in cases) for name in ('safe', 'unsafe', 'unclear')
    }
    return {
        'tried': len(cases),
        **counts,
        'engine': options.engine or 'the bundled policy',
        'prefix': None if options.prefix is None else str(options.prefix),
        'quick': options.quick,
        'only': list(options.only),
        'seed': options.seed,
        'chosen': len(chosen(options)),
        'complete': complete,
        'cases': [case.document() for case in cases],
    }
