"""What a policy server is asked and what it answers, as a YAML file says it; both sides read it.

The node sends what the file says and reads the answer by it; ``dysl serve`` reads the request by
it and answers by it. Without a file it is a bundle's own contract, under default keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dysl_vla_ros.bundle.digest import digest_of
from dysl_vla_ros.bundle.manifest import (
    FORMAT,
    FORMAT_VERSION,
    ActionSpec,
    CalibrationSpec,
    CameraSpec,
    InstructionSpec,
    Manifest,
    NormalisationSpec,
    ProprioceptionSpec,
    StateSource,
)
from dysl_vla_ros.bundle.no_files import TOKENIZER_NAME, no_files
from dysl_vla_ros.bundle.strict_json import expect, parse, shown
from dysl_vla_ros.data_types import ActionSpace, Fit, FloatArray
from dysl_vla_ros.engines.remote.contract_text import read_document
from dysl_vla_ros.errors import BundleError

FAMILY = 'remote'
_TOKENS = 1000
_DEEPEST = 8
_MOST_NUMBERS, _MOST_ROWS, _LARGEST_SIDE = 100, 1000, 1 << 14
"""As a bundle may have; asked before anything of that size is made."""
_PARTS = ('instruction', 'state', 'joints', 'gripper')


@dataclass(frozen=True)
class ServerCamera:
    """A picture of the request.

    Attributes:
        height: Rows that are sent.
        width: Columns.
        fit: How a picture of another shape is brought in: ``squash``, ``crop`` or ``pad``.
        rotate_180: It is sent turned by 180 degrees; a server of ours turns it back.
        channels_first: Sent as (3, height, width).
        resize: False: it is sent as the camera gives it, and the server brings it in.
    """

    height: int
    width: int
    fit: Fit = 'pad'
    rotate_180: bool = False
    channels_first: bool = False
    resize: bool = True


@dataclass(frozen=True)
class ServerState:
    """The vector ``state`` of the request, in rad, m and shares of an opening.

    Attributes:
        source: Joints in their order, or the pose of the tip.
        size: Numbers before the gripper's.
        gripper: Whether it ends with the gripper: its opening, or ``fingers``.
        fingers: (closed, open) of each number of the gripper; none for the opening itself.
    """

    source: StateSource = 'joints'
    size: int = 0
    gripper: bool = False
    fingers: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class ServerAction:
    """What the rows of the answer mean.

    Attributes:
        space: As in a bundle.
        dim: Numbers per row that are used; more are cut off.
        horizon: Rows that are used; more are cut off, fewer are an error.
        period_s: How long a row lasts [s].
        gripper: Whether the last of the ``dim`` numbers is a gripper's.
        gripper_closed: What the answer says for a closed gripper.
        gripper_open: What it says for an open one.
        gripper_threshold: Of the opening, 0 to 1: above it the gripper opens fully.
        scale: What 1 means in each of the numbers before the gripper's [m, rad]; none: they are
            metres and radians.
        delta_reference: Deltas add to the ``commanded`` or the ``measured`` state.
        joint_names: As in a bundle.
        frame_id: As in a bundle.
        tip_link: As in a bundle.
        key: Of the array in the answer.
    """

    space: ActionSpace
    dim: int
    horizon: int
    period_s: float
    gripper: bool = False
    gripper_closed: float = 0.0
    gripper_open: float = 1.0
    gripper_threshold: float | None = None
    scale: tuple[float, ...] = ()
    delta_reference: Literal['commanded', 'measured'] = 'commanded'
    joint_names: tuple[str, ...] = ()
    frame_id: str = 'base_link'
    tip_link: str = 'grasp_link'
    key: str = 'actions'


@dataclass(frozen=True)
class Contract:
    """One policy server.

    Attributes:
        name: For logs and diagnostics.
        request: The request as it is sent: keys, nested or not, with what stands there:
            ``camera NAME``, ``instruction``, ``state``, ``joints`` or ``gripper``; a text that
            begins with ``=`` stands for itself, and so do numbers.
        action: The answer.
        cameras: By name.
        state: What ``state`` is made of.
    """

    name: str
    request: Mapping[str, Any]
    action: ServerAction
    cameras: Mapping[str, ServerCamera] = field(default_factory=dict)
    state: ServerState = ServerState()

    def __post_init__(self) -> None:
        """Check what one field says against the others."""
        action, state = self.action, self.state
        for where, value, most in (
            ('action.dim', action.dim, _MOST_NUMBERS),
            ('action.horizon', action.horizon, _MOST_ROWS),
            *(
                (f'cameras.{name}.{side}', getattr(camera, side), _LARGEST_SIDE)
                for name, camera in self.cameras.items()
                for side in ('height', 'width')
            ),
        ):
            expect(where, value, 1 <= value <= most, f'at least 1, at most {most}')
        moves = action.dim - int(action.gripper)
        expect(
            'action.scale',
            action.scale,
            len(action.scale) in (0, moves),
            f'{moves} numbers, or none',
        )
        expect(
            'action.scale',
            action.scale,
            all(abs(value) > 0 for value in action.scale),
            'none that is 0',
        )
        expect(
            'action.gripper_open',
            action.gripper_open,
            abs(action.gripper_open - action.gripper_closed) > 1e-6,
            f'another number than gripper_closed = {action.gripper_closed}',
        )
        expect('state.size', state.size, 0 <= state.size <= 1000, 'within [0, 1000]')
        expect(
            'state.size',
            state.size,
            state.source == 'joints' or state.size in (0, 6),
            f'6 for {state.source}',
        )
        expect(
            'state.fingers',
            state.fingers,
            all(a != b for a, b in state.fingers),
            'another number for open than for closed',
        )
        asked = list(_leaves(self.request, 'request'))
        parts = [part for _, part in asked]
        for where, part in asked:
            if not isinstance(part, str) or part.startswith('='):
                continue
            kind, _, name = part.partition(' ')
            known = part in _PARTS or (kind == 'camera' and name in self.cameras)
            expect(
                where,
                part,
                known,
                f'one of {", ".join(_PARTS)}, camera and one of {list(self.cameras)}, or a '
                'text that begins with =',
            )
        for camera in self.cameras:
            expect('request', parts, f'camera {camera}' in parts, f'camera {camera!r} too')
        expect('request', parts, 'instruction' in parts, 'the instruction too')

    @property
    def digest(self) -> str:
        """Of all that it says: requests and answers of the same one mean the same."""
        return digest_of(self)

    @property
    def needs_state(self) -> bool:
        """Whether the request holds anything of the arm."""
        parts = {part for _, part in _leaves(self.request, 'request') if isinstance(part, str)}
        return bool(parts & {'state', 'joints', 'gripper'})

    def manifest(self) -> Manifest:
        """What the node needs to know, as a bundle would say it; one layer, nothing to skip."""
        action, state = self.action, self.state
        moves = action.dim - int(action.gripper)
        scale = [abs(value) for value in action.scale] or [1.0] * moves
        meaning = _scaled([*scale, *[1.0] * int(action.gripper)], bool(action.scale), moves)
        names = ['embed', 'head', 'layer_00', *(['vision'] if self.cameras else [])]
        grip = max(len(state.fingers), 1) if state.gripper else 0
        size = state.size + grip if self.needs_state else 0
        return Manifest(
            format=FORMAT, version=FORMAT_VERSION, name=self.name, family=FAMILY,
            precision='fp32', opset=18, layers_total=1, static_layers=(0,), hidden_tokens=1,
            hidden_width=1,
            cameras=tuple(self.camera(name) for name in self.cameras),
            proprioception=ProprioceptionSpec(
                size, bool(size) and state.gripper, _as_it_is(size), source=state.source,
                fingers=state.fingers if size else (),
            ),
            instruction=InstructionSpec(TOKENIZER_NAME, _TOKENS, lowercase=False),
            action=ActionSpec(
                space=action.space, dim=action.dim, horizon=action.horizon,
                period_s=action.period_s, gripper=action.gripper,
                delta_reference=action.delta_reference, normalisation=meaning,
                displacement=meaning, joint_names=action.joint_names,
                frame_id=action.frame_id, tip_link=action.tip_link,
                gripper_threshold=action.gripper_threshold,
            ),
            calibration=CalibrationSpec(
                eta=0.1, window=5, threshold=0.5, hysteresis=0.2, weights=(1.0,) * action.dim,
                mode='full',
            ),
            **no_files(names),
        )  # fmt: skip

    def camera(self, name: str) -> CameraSpec:
        """As a bundle would say it."""
        given = self.cameras[name]
        return CameraSpec(
            name, given.height, given.width, rotate_180=given.rotate_180, fit=given.fit
        )

    def physical(self, answer: FloatArray) -> FloatArray:
        """Rows of an answer in metres, radians and openings, a new array."""
        rows, action = np.array(answer, dtype=np.float64), self.action
        moves = action.dim - int(action.gripper)
        if action.scale:
            rows[:, :moves] *= action.scale
        if action.gripper:
            span = action.gripper_open - action.gripper_closed
            rows[:, -1] = (rows[:, -1] - action.gripper_closed) / span
        return rows

    def answer(self, physical: FloatArray, decide: bool = False) -> FloatArray:
        """The inverse: what a server says for such actions.

        Args:
            physical: Shape (horizon, dim).
            decide: Open or close fully, by the threshold.
        """
        rows, action = np.array(physical, dtype=np.float64), self.action
        moves = action.dim - int(action.gripper)
        if action.scale:
            rows[:, :moves] /= action.scale
        if action.gripper:
            if decide and action.gripper_threshold is not None:
                rows[:, -1] = rows[:, -1] > action.gripper_threshold
            span = action.gripper_open - action.gripper_closed
            rows[:, -1] = action.gripper_closed + span * rows[:, -1]
        return rows


def read_contract(path: Path) -> Contract:
    """A contract from YAML.

    Raises:
        BundleError: It cannot be read, is no YAML, or says something that is wrong.
    """
    document = read_document(path)
    try:
        contract: Contract = parse(Contract, document, 'contract')
        contract.manifest()  # what a bundle's contract would be refused for
    except BundleError as error:
        raise BundleError(f'{path}: {error}') from None
    return contract


def contract_of(manifest: Manifest) -> Contract:
    """The contract of ``dysl serve`` without a file: a bundle's own, in metres and radians.

    Pictures go as they are: the policy at the other end brings them in as in training.
    """
    action, state = manifest.action, manifest.proprioception
    request: dict[str, Any] = {
        f'observation/{camera.name}': f'camera {camera.name}' for camera in manifest.cameras
    }
    if state.dim:
        request['observation/state'] = 'state'
    return Contract(
        name=manifest.name,
        request={**request, 'prompt': 'instruction'},
        cameras={
            camera.name: ServerCamera(camera.height, camera.width, resize=False)
            for camera in manifest.cameras
        },
        state=ServerState(state.source, state.body, state.gripper, state.fingers),
        action=ServerAction(
            action.space, action.dim, action.horizon, action.period_s, action.gripper,
            gripper_threshold=action.gripper_threshold, delta_reference=action.delta_reference,
            joint_names=action.joint_names, frame_id=action.frame_id, tip_link=action.tip_link,
        ),
    )  # fmt: skip


def fitting(contract: Contract, manifest: Manifest) -> Contract:
    """The contract of a file, for the bundle that is served by it.

    Raises:
        BundleError: They contradict each other.
    """
    theirs, ours = contract.action, manifest.action
    for name in ('space', 'dim', 'gripper'):
        value, wanted = getattr(theirs, name), getattr(ours, name)
        expect(
            f'action.{name}',
            value,
            value == wanted,
            f'{wanted!r}, as the bundle {manifest.name} has it',
        )
    expect(
        'action.horizon',
        theirs.horizon,
        theirs.horizon <= ours.horizon,
        f'at most {ours.horizon}, as the bundle {manifest.name} has it',
    )
    if theirs.gripper_threshold is None:
        known = replace(theirs, gripper_threshold=ours.gripper_threshold)
        contract = replace(contract, action=known)
    cameras = sorted(camera.name for camera in manifest.cameras)
    expect(
        'cameras',
        sorted(contract.cameras),
        sorted(contract.cameras) == cameras,
        f'{cameras}, those of the bundle {manifest.name}',
    )
    state = ServerState(
        manifest.proprioception.source, manifest.proprioception.body,
        manifest.proprioception.gripper, manifest.proprioception.fingers,
    )  # fmt: skip
    if not manifest.proprioception.dim:
        return contract
    expect(
        'request',
        list(contract.request),
        contract.needs_state,
        f'the state too, which the bundle {manifest.name} reads',
    )
    given = contract.state
    if given == ServerState():
        return replace(contract, state=state)
    expect('state', shown(given), given == state, f'{state}, or nothing: the bundle knows it')
    return contract


def _leaves(tree: Any, where: str, depth: int = 0) -> list[tuple[str, Any]]:
    """(place, what stands there) of a nested request."""
    expect(where, '...', depth <= _DEEPEST, f'at most {_DEEPEST} levels')
    if isinstance(tree, Mapping):
        return [
            leaf
            for key, value in tree.items()
            for leaf in _leaves(value, f'{where}.{key}', depth + 1)
        ]
    expect(where, tree, isinstance(tree, (str, bool, int, float)), 'a text or a number')
    return [(where, tree)]


def _as_it_is(size: int) -> NormalisationSpec:
    return NormalisationSpec((0.0,) * size, (1.0,) * size, (False,) * size)


def _scaled(scale: list[float], given: bool, moves: int) -> NormalisationSpec:
    """Actions become physical on arrival; what training meant by 1 stays known for continuity."""
    mask = tuple(given and index < moves for index in range(len(scale)))
    low = tuple(-value if masked else 0.0 for value, masked in zip(scale, mask, strict=True))
    return NormalisationSpec(low, tuple(scale), mask)
