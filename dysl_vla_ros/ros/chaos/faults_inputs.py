"""Faults of what the node hears: camera, joint states, clocks."""

from __future__ import annotations

import math
from collections.abc import Callable

from dysl_vla_ros.ros.chaos import spoil, spoil_images, spoil_joints
from dysl_vla_ros.ros.chaos.fault import Fault, spoilt
from dysl_vla_ros.ros.chaos.rig import Rig
from dysl_vla_ros.ros.chaos.spoil import Filter

_CAMERA_REST_S = 1.1
"""The time-out of images and the rest of a window; the same for the joints below [s]."""
_JOINTS_REST_S = 0.8

_PAN, _LIFT, _ELBOW, _WRIST_1, _WRIST_3, _GRIPPER = 0, 1, 2, 3, 5, 6


def _camera(name: str, make: Callable[[], Filter], stops: bool, quick: bool = False) -> Fault:
    return Fault(
        'camera', name, spoilt('image', make), quick=quick, says=stops,
        rest_s=_CAMERA_REST_S if stops else 0.0, hold=1.8 if stops else 1.2,
    )  # fmt: skip


def _joints(
    name: str, make: Callable[[], Filter], stops: bool = False, says: bool = False,
    hold: float = 1.3, quick: bool = False,
) -> Fault:  # fmt: skip
    return Fault(
        'joints', name, spoilt('joint_states', make), quick=quick, says=says or stops,
        rest_s=_JOINTS_REST_S if stops else 0.0, hold=hold, after=1.0,
    )  # fmt: skip


def _both(make: Callable[[], Filter]) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.relay.spoil['image'] = make()
        rig.relay.spoil['joint_states'] = make()

    return act


def _clock(name: str, make: Callable[[], Filter], stops: bool, quick: bool = False) -> Fault:
    return Fault(
        'clock', name, _both(make), quick=quick, says=stops, after=1.0,
        rest_s=_CAMERA_REST_S if stops else 0.0, hold=1.7 if stops else 1.3,
    )  # fmt: skip


def _no_clock(rig: Rig) -> None:
    rig.start_other({'use_sim_time': 'true'})


CAMERA = (
    _camera('camera silent', lambda: spoil.silent, stops=True),
    _camera('every second picture', lambda: spoil.every(2, spoil.silent), stops=False),
    _camera('picture without bytes', lambda: spoil_images.image_empty, stops=True, quick=True),
    _camera('half a picture', lambda: spoil_images.image_cut, stops=True),
    _camera('picture claims 9999x9999', lambda: spoil_images.image_claims(9999, 9999), stops=True),
    _camera('unknown encoding', lambda: spoil_images.image_encoding('chaos9'), stops=True),
    _camera('picture of 1x1', lambda: spoil_images.image_size(1, 1), stops=False),
    _camera('picture of 1200x1600', lambda: spoil_images.image_size(1200, 1600), stops=False),
    _camera('lens covered', lambda: spoil_images.image_black, stops=False),
    _camera('picture frozen', spoil_images.image_frozen, stops=False),
    _camera('pictures 1.5 s late', lambda: spoil.late(1.5), stops=True),
    _camera('pictures flooded x8', lambda: spoil.flood(8), stops=False),
)

JOINTS = (
    _joints('joints silent', lambda: spoil.silent, stops=True),
    _joints('joints silent 0.25 s', lambda: spoil.silent, hold=0.25, quick=True),
    _joints('joints silent 0.5 s', lambda: spoil.silent, hold=0.5),
    _joints('one joint NaN', lambda: spoil_joints.joint(_LIFT, math.nan), stops=True),
    _joints('one joint infinite', lambda: spoil_joints.joint(_ELBOW, math.inf), stops=True),
    _joints('one joint 1e9', lambda: spoil_joints.joint(_LIFT, 1e9), stops=True, quick=True),
    _joints('all joints NaN', lambda: spoil_joints.all_joints(math.nan), stops=True),
    _joints('all joints 0', lambda: spoil_joints.all_joints(0.0), stops=True),
    _joints('each 2nd NaN', lambda: spoil.every(2, spoil_joints.joint(_LIFT, math.nan))),
    _joints('sample +1 rad elbow', lambda: spoil.only(1, spoil_joints.offset(_ELBOW, 1.0)),
            quick=True),
    _joints('sample +1 rad pan', lambda: spoil.only(1, spoil_joints.offset(_PAN, 1.0))),
    _joints('sample -1 rad lift', lambda: spoil.only(1, spoil_joints.offset(_LIFT, -1.0))),
    _joints('sample +0.5 rad elbow', lambda: spoil.only(1, spoil_joints.offset(_ELBOW, 0.5))),
    _joints('sample +100 rad wrist', lambda: spoil.only(1, spoil_joints.offset(_WRIST_1, 100.0))),
    _joints('sample +2 pi wrist',
            lambda: spoil.only(1, spoil_joints.offset(_WRIST_3, 2.0 * math.pi))),
    _joints('2 samples +0.31 lift', lambda: spoil.only(2, spoil_joints.offset(_LIFT, 0.31))),
    _joints('reads +1 rad and stays', lambda: spoil_joints.offset(_ELBOW, 1.0), stops=True),
    _joints('reads +0.25 rad, stays', lambda: spoil_joints.offset(_ELBOW, 0.25)),
    _joints('noise 0.05 rad', lambda: spoil_joints.noise(0.05, 1)),
    _joints('noise 0.15 rad', lambda: spoil_joints.noise(0.15, 1), says=True),
    _joints('publishers 0.25 apart', lambda: spoil_joints.second_opinion(_ELBOW, 0.25)),
    _joints('publishers 0.5 apart', lambda: spoil_joints.second_opinion(_ELBOW, 0.5), says=True),
    _joints('joint twice, 0.5 apart', lambda: spoil_joints.contradicted(_ELBOW, 0.5), says=True),
    _joints('joint renamed', lambda: spoil_joints.renamed(_ELBOW, 'someone_else'), stops=True),
    _joints('other order', lambda: spoil_joints.reversed_order),
    _joints('too few positions', lambda: spoil_joints.truncated, stops=True),
    _joints('empty message', lambda: spoil_joints.empty_joints, stops=True),
    _joints('gripper NaN', lambda: spoil_joints.joint(_GRIPPER, math.nan)),
    _joints('50,000 joints', lambda: spoil.every(50, spoil_joints.many_joints(50_000))),
    _joints('joints flooded x10', lambda: spoil.flood(10)),
)  # fmt: skip

CLOCK = (
    _clock('stamps 0', spoil.unstamped, stops=True, quick=True),
    _clock('stamps 1 s ahead', lambda: spoil.restamped(1.0), stops=True),
    _clock('stamps 10 min old', lambda: spoil.restamped(-600.0), stops=True),
    _clock('stamps 0.19 s old', lambda: spoil.restamped(-0.19), stops=False),
    _clock('stamps jump back 2 s', lambda: spoil.every(2, spoil.restamped(-2.0)), stops=False),
    _clock('one stamp 5 s back', lambda: spoil.only(1, spoil.restamped(-5.0)), stops=False),
    Fault('clock', 'sim time, no clock', _no_clock, graph='refused', hold=2.5),
)
