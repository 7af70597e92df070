"""What a sourced ROS 2 offers, told from its environment and files: neither rclpy nor ament here.

``dysl doctor`` and the launch file ask before anything is started.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dysl_vla_ros.errors import ConfigError

_MARKER = Path('share', 'ament_index', 'resource_index', 'packages')
_PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""The name of Fast DDS 2 and that of 3."""
_USERS_OWN = (*_PROFILES, 'FASTDDS_BUILTIN_TRANSPORTS')


def prefix_of(package: str, env: Mapping[str, str] = os.environ) -> Path | None:
    """The folder a ROS package is installed in; None where there is none.

    Args:
        package: Its name.
        env: Where ``AMENT_PREFIX_PATH`` is read.
    """
    for prefix in env.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix and (Path(prefix) / _MARKER / package).is_file():
            return Path(prefix)
    return None


def executable_of(package: str, name: str) -> Path:
    """The file of an executable, where ``ros2 run`` would find it.

    Raises:
        ConfigError: The package is not installed, or has no such executable.
    """
    prefix = prefix_of(package)
    path = None if prefix is None else prefix / 'lib' / package / name
    if path is None or not os.access(path, os.X_OK):
        raise ConfigError(package, name, f'an executable that is installed ({how_to(package)})')
    return path


def require(argument: str, *packages: str) -> None:
    """Complain about an argument that needs a package which is not there, before any node starts.

    Args:
        argument: Of the launch file, ``rviz``.
        packages: What it needs.

    Raises:
        ConfigError: One of them is not in ``AMENT_PREFIX_PATH``.
    """
    for package in packages:
        if prefix_of(package) is None:
            expected = f'the package {package} ({how_to(package)}), or {argument}:=false'
            raise ConfigError(argument, 'true', expected)


def how_to(package: str) -> str:
    """The command that installs a ROS package."""
    distro = os.environ.get('ROS_DISTRO') or '$ROS_DISTRO'
    return f'sudo apt install ros-{distro}-{package.replace("_", "-")}, in a sourced ROS 2'


def fast_dds_profile(profile: Path, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that make Fast DDS read a profile; none where the user has set their own.

    Args:
        profile: XML with a shared-memory segment that holds camera images.
        env: Of the process that starts the nodes.
    """
    middleware = env.get('RMW_IMPLEMENTATION') or 'rmw_fastrtps_cpp'
    if not middleware.startswith('rmw_fastrtps') or any(env.get(name) for name in _USERS_OWN):
        return {}
    return dict.fromkeys(_PROFILES, str(profile))
