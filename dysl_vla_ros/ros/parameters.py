"""The node's parameters: declared from the configuration, validated by it, read back into it."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from dysl_vla_ros.config import (
    NODE_ONLY,
    NodeConfig,
    Parameter,
    from_flat,
    of_the_node,
    parameters,
    value_of,
)
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.parameter_check import check_once, check_reach
from dysl_vla_ros.parameter_file import OF_ROS, of_others

_INTEGER_LIMIT = 2**63 - 1
_LIST_TYPES = {
    tuple[str, ...]: RosParameter.Type.STRING_ARRAY,
    tuple[float, ...]: RosParameter.Type.DOUBLE_ARRAY,
}


def declare(node: Node) -> NodeConfig:
    """Declare every parameter with text and range, and read the configuration.

    The node must have been made with ``automatically_declare_parameters_from_overrides``: this
    is how keys that nobody declares are seen, and how ``30`` may stand for ``30.0``.

    Raises:
        ConfigError: A key is unknown (the message names the nearest), or a value is wrong.
    """
    given = {
        name: _plain(parameter)
        for name, parameter in node.get_parameters_by_prefix('').items()
        if not name.startswith(OF_ROS)
    }
    own = of_the_node(given)
    given = {name: value for name, value in given.items() if name not in own}
    files = _files_of_this_process()
    for path in files:
        check_once(path)
        _tell_reach(node, path)
    others = of_others(files, node.get_name())
    config = from_flat(given, others)
    ignored = sorted(others & set(given) - {parameter.name for parameter in parameters()})
    if ignored:
        node.get_logger().debug('of other nodes, in /**: ' + ', '.join(ignored))
    for name in (*given, *own):
        node.undeclare_parameter(name)
    for name, (default, text) in NODE_ONLY.items():
        node.declare_parameter(
            name,
            own.get(name, default),
            ParameterDescriptor(description=text, read_only=True),
            ignore_override=True,
        )
    for parameter in parameters(config.arms.names):
        value = value_of(config, parameter)
        node.declare_parameter(
            parameter.name, _ros_value(parameter, value), describe(parameter), ignore_override=True
        )
    # Empty lists are declared by their type alone, and while one parameter has no value, a request
    # for all of them is answered with none.
    show(node, config)
    return config


def read(node: Node) -> NodeConfig:
    """The configuration as the node's parameters are now.

    Raises:
        ConfigError: They contradict each other.
    """
    set_now = {
        name: _plain(parameter)
        for name, parameter in node.get_parameters_by_prefix('').items()
        if name not in NODE_ONLY and not name.startswith(OF_ROS)
    }
    return from_flat(set_now)


def show(node: Node, config: NodeConfig) -> None:
    """Let ``ros2 param get`` and ``dump`` answer with the values in force.

    Args:
        node: Its callback must let these changes pass.
        config: What is in force.
    """
    changed, declared = [], node.get_parameters_by_prefix('')
    for parameter in parameters(config.arms.names):
        value = value_of(config, parameter)
        wanted = list(value) if isinstance(value, tuple) else value
        if wanted != _plain(declared[parameter.name]):
            kind = _LIST_TYPES.get(parameter.kind)
            changed.append(RosParameter(parameter.name, kind, wanted))
    if changed:
        node.set_parameters(changed)


def _tell_reach(node: Node, path: Path) -> None:
    try:
        check_reach(path, [node.get_fully_qualified_name()])
    except ConfigError as error:
        node.get_logger().warning(f'{error}: nothing of it is in force here')


def _files_of_this_process() -> list[Path]:
    """Parameter files of the command line; rclpy tells values, not in which section they stood."""
    words = sys.argv
    return [Path(words[i + 1]) for i, word in enumerate(words[:-1]) if word == '--params-file']


def describe(parameter: Parameter) -> ParameterDescriptor:
    """Text and range as ``ros2 param describe`` shows them."""
    descriptor = ParameterDescriptor(
        description=parameter.text,
        additional_constraints='; '.join(_constraints(parameter)),
        # Not read_only, which forbids the time before configure too.
    )
    if parameter.low is None and parameter.high is None:
        return descriptor
    if parameter.kind is float:
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=float(-sys.float_info.max if parameter.low is None else parameter.low),
                to_value=float(sys.float_info.max if parameter.high is None else parameter.high),
            )
        ]
    elif parameter.kind is int:
        descriptor.integer_range = [
            IntegerRange(
                from_value=int(-_INTEGER_LIMIT if parameter.low is None else parameter.low),
                to_value=int(_INTEGER_LIMIT if parameter.high is None else parameter.high),
            )
        ]
    return descriptor


def validate(
    changes: list[RosParameter], configured: bool, arms: Sequence[str] = ()
) -> SetParametersResult:
    """Whether parameters may change so; each by itself, since they are set one after the other.

    Args:
        changes: As the callback of ``add_on_set_parameters_callback`` gets them.
        configured: Whether parts exist that were made from the parameters.
        arms: Names of several arms, each with parameters of its own.

    Returns:
        The reason of a refusal is a ConfigError's text.
    """
    known = {parameter.name: parameter for parameter in parameters(arms)}
    for change in changes:
        if change.name not in known or change.type_ == RosParameter.Type.NOT_SET:
            continue
        parameter = known[change.name]
        try:
            parameter.check(change.value)
            if configured and not parameter.dynamic:
                raise ConfigError(
                    change.name, change.value,
                    'no change while the node is configured: clean up first',
                )  # fmt: skip
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def _constraints(parameter: Parameter) -> list[str]:
    found = []
    if parameter.choices:
        found.append('one of ' + ', '.join(map(repr, parameter.choices)))
    if not parameter.dynamic:
        found.append('read when the node is configured')
    return found


def _ros_value(parameter: Parameter, value: Any) -> Any:
    """A value that rclpy gives the right type; an empty list declares the type alone.

    rclpy takes an empty list for an array of bytes, whatever it is meant to hold.
    """
    if not isinstance(value, tuple):
        return value
    if value:
        return list(value)
    return _LIST_TYPES[parameter.kind]


def _plain(parameter: Any) -> Any:
    """A parameter's value; number arrays become lists."""
    value = parameter.value
    return value.tolist() if isinstance(value, array) else value
