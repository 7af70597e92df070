"""Messages of the standard ``logging`` below ``ros/`` appear in the ROS log."""

from __future__ import annotations

import logging
from typing import Any


class LogBridge(logging.Handler):
    """Passes records, with their tracebacks, to a ROS logger; remove it with ``close``."""

    def __init__(self, ros_logger: Any, package: str = 'dysl_vla_ros') -> None:
        """Attach to the package's logger."""
        super().__init__()
        self._ros_logger = ros_logger
        self._python_logger = logging.getLogger(package)
        self._before = (self._python_logger.level, self._python_logger.propagate)
        self._python_logger.addHandler(self)
        self._python_logger.setLevel(logging.INFO)
        self._python_logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record at its level."""
        text = self.format(record)
        # One call site per level: rclpy remembers the level of each site.
        if record.levelno >= logging.ERROR:
            self._ros_logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._ros_logger.warning(text)
        else:
            self._ros_logger.info(text)

    def close(self) -> None:
        """Detach."""
        self._python_logger.removeHandler(self)
        self._python_logger.level, self._python_logger.propagate = self._before
        super().close()
