"""The view that `rviz:=true` opens shows what the nodes publish."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import yaml

CONFIG = Path(__file__).resolve().parents[1] / 'config'


def topics():
    document = yaml.safe_load((CONFIG / 'views' / 'manipulation.rviz').read_text(encoding='utf-8'))
    displays = document['Visualization Manager']['Displays']
    keys = ('Topic', 'Description Topic')
    return {d['Name']: d[key]['Value'] for d in displays for key in keys if key in d}


def test_arm_path_and_camera_are_shown_and_something_publishes_each():
    policy = ElementTree.parse(CONFIG / 'sros2' / 'policy.xml').getroot()
    published = {
        topic.text.replace('~', profile.get('node'))
        for profile in policy.iter('profile')
        for allowed in profile.iterfind("topics[@publish='ALLOW']")
        for topic in allowed
    }
    shown = topics()
    assert (
        {
            'robot_description',
            'vla_node/path',
            'vla_node/path_marker',
            'vla_node/layers',
            'image',
        }
        <= set(shown.values())
        <= published
    )
    # A name from the root would escape namespace and remappings.
    assert not [topic for topic in shown.values() if topic.startswith('/')]
