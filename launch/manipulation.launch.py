"""Start a policy on an arm; with no argument, on the simulated arm.

Declarations only: which nodes, parameters and remappings follow from the arguments is decided in
``dysl_vla_ros.bringup``, which ``dysl demo`` uses too.
"""

import os
from functools import partial

from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from dysl_vla_ros import bringup
from dysl_vla_ros.hardware.parent import VARIABLE
from launch import LaunchDescription


def generate_launch_description():
    """The launch description."""
    return LaunchDescription([
        *(
            DeclareLaunchArgument(
                argument.name,
                default_value=argument.default,
                description=argument.description,
                choices=list(argument.choices) or None,
            )
            for argument in bringup.ARGUMENTS
        ),
        OpaqueFunction(function=start),
    ])  # fmt: skip


def start(context):
    """The actions for the arguments given."""
    arguments = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in bringup.ARGUMENTS
    }
    specs = bringup.nodes(arguments)
    actions = [SetEnvironmentVariable(*item) for item in bringup.environment().items()]
    actions += [node(spec) for spec in specs]
    return actions


def node(spec):
    """One node as a launch action."""
    kind = LifecycleNode if spec.lifecycle else Node
    return kind(
        package=spec.package,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        arguments=list(spec.arguments),
        parameters=[*(str(path) for path in spec.parameter_files), parameters(spec)],
        remappings=list(spec.remappings),
        ros_arguments=spec.ros_arguments,
        additional_env={VARIABLE: str(os.getpid())},
        output='screen',
        on_exit=partial(end_all, spec.name) if spec.essential else None,
        respawn=False,
    )


def end_all(name, event, context):
    """The end of the arm or of the node ends the launch, once."""
    return None if context.is_shutdown else [Shutdown(reason=f'{name} ended')]


def parameters(spec):
    """Text stays text: launch would read '1' as a number, and 'a: b' as a mapping."""
    return {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in spec.parameters.items()
    }
