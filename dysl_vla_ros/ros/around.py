"""What goes on around the arm: who else commands it, whether its controller runs, what it touches.

Looked at by a timer of the executor; the answers are plain attributes that any thread may read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node

from dysl_vla_ros.config import SafetyConfig
from dysl_vla_ros.ros.command_graph import CommandGraph, is_heard
from dysl_vla_ros.ros.controller_check import ControllerCheck
from dysl_vla_ros.ros.controller_fit import FORWARD, Sent
from dysl_vla_ros.ros.controller_rate import ControllerRate
from dysl_vla_ros.ros.controller_watch import ControllerWatch
from dysl_vla_ros.ros.only_simulated import OnlySimulated
from dysl_vla_ros.ros.streams import JointSample

PERIOD_S = 0.2


@dataclass(frozen=True)
class Surroundings:
    """One look.

    Attributes:
        listeners: Nodes that receive commands.
        others: Other nodes that publish commands.
        controller: ``active``, ``inactive``, or ``unknown: `` and why.
        controller_problem: Why the arm would not follow; '' when fine or unknown.
        restarts: Command topic of each controller that became active again, and when [s].
        check: ``fits``, ``misfit`` or ``unknown``: what its parameters say of our commands.
        misfit: Why a controller would not do what is meant; '' when it fits or is unknown.
        unheard: Command topics that nobody subscribes to, or only who looks on.
    """

    listeners: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    controller: str = 'unknown: not looked yet'
    controller_problem: str = ''
    restarts: tuple[tuple[str, float], ...] = ()
    check: str = 'unknown: not asked yet'
    misfit: str = ''
    unheard: tuple[str, ...] = ()

    @property
    def restarted_at(self) -> float | None:
        """When a controller became active again last [s]; None = never seen."""
        return max((at for _, at in self.restarts), default=None)


class _AroundTopic:
    """Who and what is at one command topic."""

    def __init__(self, node: Node, topic: str, sent: Sent, rate: float) -> None:
        self._node = node
        self.topic = topic
        self._graph = CommandGraph(node, topic)
        self._watch = ControllerWatch(node, topic)
        self._check = ControllerCheck(node, topic, sent)
        self._rate: ControllerRate | None = None
        if sent.command_type == FORWARD:
            self._rate = ControllerRate(node, topic, rate, node.get_logger().warning)

    @property
    def is_heard(self) -> bool:
        return is_heard(self._node, self.topic)

    def look(self) -> Surroundings:
        self._graph.poll()
        self._watch.poll()
        self._check.poll()
        if self._rate is not None:
            self._rate.poll()
        restarted_at = self._watch.restarted_at
        return Surroundings(
            self._graph.listeners,
            self._graph.others,
            self._watch.status,
            self._watch.problem(),
            () if restarted_at is None else ((self.topic, restarted_at),),
            self._check.status,
            self._check.misfit,
            () if self._graph.heard else (self.topic,),
        )

    def destroy(self) -> None:
        self._watch.destroy()
        self._check.destroy()
        if self._rate is not None:
            self._rate.destroy()


class Around:
    """Keeps the newest look, of all arms together: what is wrong with one is wrong."""

    def __init__(
        self,
        node: Node,
        sent: Mapping[str, Sent],
        config: SafetyConfig,
        rate: float,
        simulated: OnlySimulated | None = None,
    ) -> None:
        """Nothing is known yet.

        Args:
            node: Who asks.
            sent: Resolved name of each command topic -> what is published there.
            config: What is allowed.
            rate: How often [Hz].
            simulated: Who may be commanded, where the arm is a simulated one.
        """
        self._simulated = simulated
        self._topics = [_AroundTopic(node, topic, what, rate) for topic, what in sent.items()]
        self._config = config
        self._commanded_by_others: tuple[str, ...] = ()
        self.newest = Surroundings()

    def poll(self) -> None:
        """Look again; never waits."""
        if self._simulated is not None:
            self._simulated.poll()
        looks = [topic.look() for topic in self._topics]
        self._commanded_by_others = tuple(
            topic.topic for topic, look in zip(self._topics, looks, strict=True) if look.others
        )
        self.newest = looks[0] if len(looks) == 1 else _together(looks)

    def arming_problem(self) -> str:
        """Why this arm should not be commanded now; '' when it may."""
        now = self.newest
        unheard = [topic.topic for topic in self._topics if not topic.is_heard]
        if unheard or now.unheard:
            names = ' and '.join(unheard or now.unheard)
            return f'nobody subscribes to {names}: start the controller first'
        if now.controller_problem or now.misfit:
            return now.controller_problem or now.misfit
        return self.intruders()

    def intruders(self) -> str:
        """A sentence that names the other publishers of commands; '' without, or if allowed."""
        others = self.newest.others
        if not others or self._config.allow_other_commanders:
            return ''
        return (
            f'{" and ".join(others)} publishes on {" and ".join(self._commanded_by_others)} too: '
            'expected nobody else, or allow_other_commanders = true'
        )

    def not_simulated(self) -> str:
        """Why commands of a simulated arm might reach another one; '' of a real arm."""
        return '' if self._simulated is None else self._simulated.problem()

    def destroy(self) -> None:
        """Drop clients and subscriptions."""
        for topic in self._topics:
            topic.destroy()


def _together(looks: list[Surroundings]) -> Surroundings:
    """Of several arms: everybody, every problem, the newest restart."""
    return Surroundings(
        tuple(sorted({name for look in looks for name in look.listeners})),
        tuple(sorted({name for look in looks for name in look.others})),
        _joined(look.controller for look in looks),
        _joined(look.controller_problem for look in looks),
        tuple(one for look in looks for one in look.restarts),
        _joined(look.check for look in sorted(looks, key=lambda look: not look.misfit)),
        _joined(look.misfit for look in looks),
        tuple(topic for look in looks for topic in look.unheard),
    )


def _joined(texts: Iterable[str]) -> str:
    return '; '.join(dict.fromkeys(filter(None, texts)))


def contact(sample: JointSample, limit: float, names: tuple[str, ...]) -> str:
    """A sentence when a joint feels more than ``limit``, or does not tell; '' when neither.

    Args:
        sample: Newest joints.
        limit: ``contact.effort`` [N m or N]; 0 = off.
        names: Of the joints.
    """
    if not limit or sample.efforts is None:
        return unfelt(sample, limit)
    size = np.abs(sample.efforts)
    joint = int(np.argmax(np.where(np.isfinite(size), size, np.inf)))
    if size[joint] <= limit:
        return ''
    return (
        f'contact: {names[joint]} feels {size[joint]:.1f}, contact.effort = {limit:g}: something '
        'is in the way'
    )


def unfelt(sample: JointSample, limit: float) -> str:
    """Why contact beyond ``limit`` would not be noticed; '' where it would, or is not asked for.

    Args:
        sample: Newest joints.
        limit: ``contact.effort`` [N m or N]; 0 = off.
    """
    if not limit or sample.efforts is not None:
        return ''
    return (
        f'contact.effort = {limit:g}: joint_states carries no efforts: expected one for each '
        'joint, or contact.effort = 0'
    )
