"""Start a policy on an arm; with no argument, on the simulated arm.

Declarations only: which nodes, parameters and remappings follow from the arguments is decided in
``dysl_vla_ros.bringup``, which ``dysl demo`` uses too.
"""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from dysl_vla_ros import bringup
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
    actions = [node(spec) for spec in bringup.nodes(arguments)]
    commands = (bringup.record_command(arguments), bringup.instruction_command(arguments))
    actions += [ExecuteProcess(cmd=command, output='screen') for command in commands if command]
    return actions


def node(spec):
    """One node as a launch action."""
    kind = LifecycleNode if spec.lifecycle else Node
    return kind(
        package=spec.package,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[*(str(path) for path in spec.parameter_files), dict(spec.parameters)],
        remappings=list(spec.remappings),
        ros_arguments=spec.ros_arguments,
        output='screen',
    )
