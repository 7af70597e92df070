"""The layouts under config/views name topics that the nodes publish, with fields those have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import wait_for

from dysl_vla_ros.ros.layer_view import PASSES, heat_picture

pytestmark = pytest.mark.ros
VIEWS = Path(__file__).resolve().parents[2] / 'config' / 'views'
OF_OTHERS = {'/robot_description', '/image'}  # drivers', and the simulated arm's


def fields_of(path: str) -> tuple[str, str]:
    """Topic and field of '/vla_node/stage_ms.data[1]' or '/vla_node/stage_ms/data[1]'."""
    found = re.fullmatch(r'(/[\w/]+?)[./](data(?:\[\d\])?)', path)
    assert found, path
    return found[1], found[2]


def kind_of(message: Any) -> str:
    return f'{message.__module__.split(".")[0]}/msg/{message.__name__}'


def foxglove() -> tuple[set[str], list[tuple[str, str]]]:
    panels = json.loads((VIEWS / 'foxglove.json').read_text(encoding='utf-8'))['configById']
    plots = [fields_of(line['value']) for panel in panels.values()
             for line in panel.get('paths', [])]  # fmt: skip
    topics = {panel[key] for panel in panels.values() for key in ('topicPath', 'topicToRender')
              if key in panel}  # fmt: skip
    for panel in panels.values():
        topics |= set(panel.get('topics', {}))
        topics |= {panel['imageMode']['imageTopic']} if panel.get('imageMode') else set()
    return topics, plots


def plotjuggler() -> tuple[set[str], list[tuple[str, str]]]:
    root = ElementTree.parse(VIEWS / 'plotjuggler.xml').getroot()
    curves = [fields_of(str(curve.get('name'))) for curve in root.iter('curve')]
    return {str(topic.get('name')) for topic in root.iter('topic')}, curves


@pytest.mark.parametrize('layout', [foxglove, plotjuggler])
def test_a_layout_names_only_what_is_published_and_plots_only_numbers(rig, layout):
    node = rig()
    node.configure()
    # Of this node alone: one of that name, of the test before, may still stand in the graph.
    published = {item.topic_name: kind_of(item.msg_type) for item in node.node.publishers}
    topics, plots = layout()
    assert len(plots) >= 8 and topics - OF_OTHERS <= set(published)
    for topic, field in plots:
        kind = published[topic]
        wanted = 'std_msgs/msg/Float64MultiArray' if '[' in field else 'std_msgs/msg/Float64'
        assert kind == wanted, topic


def test_every_panel_of_the_layout_stands_somewhere():
    document = json.loads((VIEWS / 'foxglove.json').read_text(encoding='utf-8'))

    def leaves(part: Any) -> list[str]:
        return [part] if isinstance(part, str) else leaves(part['first']) + leaves(part['second'])

    assert sorted(leaves(document['layout'])) == sorted(document['configById'])


def test_numbers_picture_and_path_come_with_every_pass(rig):
    from fakes import FakePolicy
    from sensor_msgs.msg import Image
    from std_msgs.msg import Float64, Float64MultiArray
    from visualization_msgs.msg import Marker

    from dysl_vla_ros.ros import qos

    made = rig(FakePolicy(), armed=False)
    depth = made.listen('vla_node/layers_run', Float64, qos.REPORT)
    stages = made.listen('vla_node/stage_ms', Float64MultiArray, qos.REPORT)
    whole = made.listen('vla_node/inference_ms', Float64, qos.REPORT)
    rate = made.listen('vla_node/command_rate_hz', Float64, qos.REPORT)
    pictures = made.listen('vla_node/layers', Image, qos.REPORT)
    paths = made.listen('vla_node/path_marker', Marker, qos.REPORT)
    made.up().instruct('go')
    wait_for(lambda: made.ask('start').success, what='a start')
    wait_for(lambda: all((depth, stages, whole, rate, pictures, paths)), what='one of each')
    layers = made.policy.manifest.layers_total
    assert 1 <= depth[0].data <= layers and rate[0].data > 1
    (dimension,) = stages[0].layout.dim
    assert dimension.label == 'preprocess encode backbone decode'
    assert dimension.size == dimension.stride == len(stages[0].data) == 4
    assert sum(stages[0].data) == pytest.approx(whole[0].data)
    assert (pictures[0].height, pictures[0].width) == (4 * layers, 4 * PASSES)
    assert len(pictures[0].data) == pictures[0].step * pictures[0].height
    assert paths[0].type == Marker.LINE_STRIP and paths[0].points
    assert paths[0].color.r == 1.0  # in shadow


def test_the_newest_pass_stands_at_the_right_and_a_jumped_layer_is_pale():
    picture = heat_picture([('101', 'skipped'), ('111', 'full'), ('11', 'full')][:2])
    column = picture[::4, -4]
    assert column.tolist() == [[232, 163, 61]] * 3
    assert picture[::4, -8].tolist() == [[42, 120, 181], [231, 235, 239], [42, 120, 181]]
    assert np.all(picture[:, :-8] == 255)
