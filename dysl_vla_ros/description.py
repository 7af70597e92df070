"""The tree of links and joints in a robot description (URDF), and what is wrong with it.

Read here and not by a library, for three reasons: joints and links may share a name, as those of
published robots do; what is wrong is said in an error that names the joint or link, not on stderr;
and elements of other vocabularies (gazebo, ros2_control) are passed over, whatever is in them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import KinematicsError

MAX_URDF_CHARACTERS = 10_000_000
MAX_URDF_JOINTS = 500
_MAX_DEPTH = 100
_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?')
_KINDS = ('revolute', 'continuous', 'prismatic', 'fixed', 'floating', 'planar')
MOVABLE = ('revolute', 'continuous', 'prismatic')


@dataclass(frozen=True)
class Joint:
    """One joint, as the text has it.

    Attributes:
        name: Of the joint.
        kind: ``revolute``, ``continuous``, ``prismatic``, ``fixed``, ``floating``, ``planar``.
        parent: Link that carries it.
        child: Link that it moves.
        xyz: Origin in the parent's frame, shape (3,) [m].
        rpy: Roll, pitch, yaw of that frame, shape (3,) [rad].
        axis: As written, not normalised; empty = x.
        limit: Attributes of ``<limit>``, as written; empty without one.
        mimic: Attributes of ``<mimic>``, as written; empty without one.
    """

    name: str
    kind: str
    parent: str
    child: str
    xyz: FloatArray
    rpy: FloatArray
    axis: str
    limit: Mapping[str, str]
    mimic: Mapping[str, str]

    @property
    def unit(self) -> str:
        """Of its position: ``rad`` or ``m``."""
        return 'm' if self.kind == 'prismatic' else 'rad'

    def number(self, element: str, key: str, default: float | None = None) -> float | None:
        """A number of ``<limit>`` or ``<mimic>``; ``default`` where it is not written.

        Raises:
            KinematicsError: It is no finite number.
        """
        text = (self.limit if element == 'limit' else self.mimic).get(key)
        if text is None:
            return default
        return float(_numbers(text, 1, f'joint {self.name}: {element} {key}')[0])

    def direction(self) -> FloatArray:
        """Its axis, of length 1, shape (3,).

        Raises:
            KinematicsError: Not three numbers, or all of them zero.
        """
        axis = _numbers(self.axis or '1 0 0', 3, f'joint {self.name}: axis xyz')
        length = float(np.linalg.norm(axis))
        if length < 1e-9:
            raise KinematicsError(
                f'joint {self.name}: axis xyz = {self.axis!r}: expected a direction, such as '
                "'0 0 1'"
            )
        return np.asarray(axis / length)


@dataclass(frozen=True)
class Description:
    """A tree.

    Attributes:
        root: The link that no joint moves.
        links: Their names, in the order of the text.
        joints: A joint after the one that carries it.
        name: Of the robot; '' where the text gives none.
    """

    root: str
    links: tuple[str, ...]
    joints: tuple[Joint, ...]
    name: str = ''

    def joint(self, name: str) -> Joint:
        """A joint that an arm can consist of.

        Raises:
            KinematicsError: There is no such joint, or it has not one degree of freedom.
        """
        found = next((joint for joint in self.joints if joint.name == name), None)
        if found is not None and found.kind in ('floating', 'planar'):
            count = 6 if found.kind == 'floating' else 3
            raise KinematicsError(
                f'joint {name!r} has {count} degrees of freedom: expected 1, revolute, '
                'continuous or prismatic'
            )
        if found is None or found.kind == 'fixed':
            known = [joint.name for joint in self.joints if joint.kind in MOVABLE]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'did you mean {near[0]!r}? ' if near else ''
            raise KinematicsError(
                f'joint {name!r} is not a movable joint of robot_description: {hint}'
                f'expected some of {", ".join(known) or "(none)"}'
            )
        if found.mimic:
            raise KinematicsError(
                f'joint {name!r} follows {found.mimic.get("joint", "")!r} (mimic): expected '
                'joints that are commanded themselves; leave it out'
            )
        return found


def parse_xml(text: str) -> ElementTree.Element:
    """The root element; prefixes of names need no declaration, as in other readers of URDF.

    Raises:
        KinematicsError: Not XML, or nested or declared in a way that no URDF is.
    """
    builder = ElementTree.TreeBuilder()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise KinematicsError(
                f'robot_description: elements lie in each other {depth} deep at <{tag}>: '
                f'expected at most {_MAX_DEPTH}'
            )
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def declared(name: str, *rest: object) -> NoReturn:
        raise KinematicsError(f'robot_description declares {name!r} (DOCTYPE): expected none')

    reader = expat.ParserCreate()
    reader.StartElementHandler = start
    reader.EndElementHandler = end
    reader.StartDoctypeDeclHandler = declared
    try:
        reader.Parse(text.lstrip('\ufeff \t\r\n'), True)
        return builder.close()
    except (expat.ExpatError, ValueError, AssertionError) as error:
        raise KinematicsError(_not_a_urdf(text, f'it is not XML: {error}')) from None


def read_description(text: str) -> Description:
    """Read a URDF.

    Args:
        text: Of the robot description.

    Raises:
        KinematicsError: Too large, or not a URDF; names the joint or link and what is expected.
    """
    count = text.count('<joint')
    if len(text) > MAX_URDF_CHARACTERS or count > MAX_URDF_JOINTS:
        raise KinematicsError(
            f'robot_description, {len(text)} characters with {count} joints: expected at most '
            f'{MAX_URDF_CHARACTERS} characters and {MAX_URDF_JOINTS} joints'
        )
    robot = parse_xml(text)
    if robot.tag != 'robot':
        raise KinematicsError(_not_a_urdf(text, f'it begins with <{robot.tag}>, not <robot>'))
    links = _unique('link', [link.get('name', '') for link in robot.findall('link')])
    if not links:
        raise KinematicsError(_not_a_urdf(text, 'it has no link'))
    joints = [_joint(element) for element in robot.findall('joint')]
    _unique('joint', [joint.name for joint in joints])
    return replace(_tree(text, links, joints), name=robot.get('name', ''))


def says_the_same(one: str, other: str) -> bool:
    """Whether two texts describe one robot, whatever their comments, spaces and line breaks.

    Raises:
        KinematicsError: One of them is too large, or no URDF.
    """
    if one == other:
        return True
    read_description(other)  # bounds it first
    pairs = [(parse_xml(one), parse_xml(other))]
    while pairs:
        mine, theirs = pairs.pop()
        if (mine.tag, mine.attrib, len(mine)) != (theirs.tag, theirs.attrib, len(theirs)):
            return False
        pairs.extend(zip(mine, theirs, strict=True))
    return True


def _not_a_urdf(text: str, problem: str) -> str:
    hint = ' (run xacro first)' if 'xacro' in text or not text.strip() else ''
    return (
        f'robot_description, {len(text)} characters: {problem}. Expected the text of a URDF{hint}'
    )


def _unique(what: str, names: list[str]) -> tuple[str, ...]:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise KinematicsError(f'robot_description: a <{what}> has no name: expected one')
        if name in seen:
            raise KinematicsError(
                f'robot_description: {what} {name!r} is there twice: expected every {what} once; '
                'give each robot of the description a prefix of its own'
            )
        seen.add(name)
    return tuple(names)


def _joint(element: ElementTree.Element) -> Joint:
    name = element.get('name', '')
    kind = element.get('type', '')
    if kind not in _KINDS:
        raise KinematicsError(
            f'joint {name}: type = {kind!r}: expected one of {", ".join(_KINDS)}'
        )
    ends = []
    for part in ('parent', 'child'):
        found = element.find(part)
        link = '' if found is None else found.get('link', '')
        if not link:
            raise KinematicsError(f'joint {name}: it has no <{part} link="...">: expected one')
        ends.append(link)
    origin = element.find('origin')
    place = {} if origin is None else origin.attrib
    xyz, rpy = (
        _numbers(place.get(key, '0 0 0'), 3, f'joint {name}: origin {key}')
        for key in ('xyz', 'rpy')
    )
    parts = {key: element.find(key) for key in ('axis', 'limit', 'mimic')}
    axis, limit, mimic = ({} if part is None else dict(part.attrib) for part in parts.values())
    return Joint(name, kind, ends[0], ends[1], xyz, rpy, axis.get('xyz', ''), limit, mimic)


def _tree(text: str, links: tuple[str, ...], joints: list[Joint]) -> Description:
    known = set(links)
    above: dict[str, Joint] = {}
    below: dict[str, list[Joint]] = {}
    for joint in joints:
        for part, link in (('parent', joint.parent), ('child', joint.child)):
            if link not in known:
                raise KinematicsError(
                    f'joint {joint.name}: {part} {link!r} is no link of robot_description: '
                    f'expected one of {", ".join(links)}'
                )
        if joint.child in above:
            raise KinematicsError(
                f'link {joint.child!r} is moved by two joints, {above[joint.child].name} and '
                f'{joint.name}: expected one'
            )
        above[joint.child] = joint
        below.setdefault(joint.parent, []).append(joint)
    roots = [link for link in links if link not in above]
    if len(roots) > 1:
        raise KinematicsError(
            f'robot_description: {len(roots)} links hang on no joint, {", ".join(roots)}: '
            'expected one root; remove the links that are not connected, or add a fixed joint'
        )
    ordered: list[Joint] = []
    waiting = [roots[0]] if roots else []
    while waiting:
        following = below.get(waiting.pop(), [])
        ordered += following
        waiting += [joint.child for joint in following]
    if len(ordered) < len(joints):
        reached = {joint.name for joint in ordered}
        lost = [joint.name for joint in joints if joint.name not in reached]
        raise KinematicsError(
            f'robot_description: joints {", ".join(lost)} form a circle: expected a tree of links'
        )
    return Description(roots[0], links, tuple(ordered))


def _numbers(text: str, count: int, what: str) -> FloatArray:
    words = text.split()
    if len(words) != count or not all(_NUMBER.fullmatch(word) for word in words):
        wanted = 'a number' if count == 1 else f'{count} numbers'
        raise KinematicsError(f'{what} = {text!r}: expected {wanted}')
    values = np.array([float(word) for word in words])
    if not np.isfinite(values).all():
        raise KinematicsError(f'{what} = {text!r}: expected finite numbers')
    return values
