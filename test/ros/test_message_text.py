"""A definition written from the class reads the very bytes that the class writes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy', reason='rclpy is not installed: source ROS 2, or make test')
typesys = pytest.importorskip('rosbags.typesys', reason="pip install 'dysl_vla_ros[bags]'")


def recorded_kinds():
    from sensor_msgs.msg import CompressedImage

    from dysl_vla_ros.ros.message_text import type_name
    from dysl_vla_ros.ros.recorded_topics import TYPES

    return {**TYPES, type_name(CompressedImage): CompressedImage}


def test_every_recorded_type_is_defined_as_the_published_packages_define_it():
    from dysl_vla_ros.ros.message_text import definition

    published = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    kinds = recorded_kinds()
    assert len(kinds) > 10
    for name, kind in kinds.items():
        store = typesys.get_typestore(typesys.Stores.EMPTY)
        store.register(typesys.get_types_from_msg(definition(kind), name))
        for own in store.fielddefs:
            assert store.fielddefs[own][1] == published.fielddefs[own][1], own


def test_nested_messages_and_lists_are_read_back():
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
    from rclpy.serialization import serialize_message

    from dysl_vla_ros.ros.message_text import definition, type_name

    message = DiagnosticArray()
    message.status = [DiagnosticStatus(level=b'\x01', name='n', values=[KeyValue(key='k')])]
    name = type_name(DiagnosticArray)
    store = typesys.get_typestore(typesys.Stores.EMPTY)
    store.register(typesys.get_types_from_msg(definition(DiagnosticArray), name))
    read = store.deserialize_cdr(serialize_message(message), name)
    assert read.status[0].level == 1 and read.status[0].values[0].key == 'k'
