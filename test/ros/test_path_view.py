"""Where the tip is going, for RViz."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import wait_for

pytestmark = pytest.mark.ros


@pytest.mark.parametrize('armed', [True, False])
def test_the_path_of_the_tip_is_published_per_chunk_armed_or_in_shadow(rig, armed):
    from geometry_msgs.msg import PoseArray

    from dysl_vla_ros.ros import qos

    rig = rig(armed=armed)
    heard = rig.listen('vla_node/path', PoseArray, qos.REPORT)
    rig.run()
    wait_for(lambda: len(heard) > 3, what='paths')
    message = heard[-1]
    assert message.header.frame_id == rig.policy.manifest.action.frame_id
    assert 1 <= len(message.poses) <= rig.policy.manifest.action.horizon
    points = np.array([[p.position.x, p.position.y, p.position.z] for p in message.poses])
    # The policy moves the first joint alone: every pose is one that this joint reaches.
    rest = np.zeros(len(rig.session.loop.limits.names))
    reach = []
    for first in np.linspace(-1.0, 1.0, 2001):
        rest[0] = first
        reach.append(rig.session.kinematics.forward(rest)[0])
    gaps = np.linalg.norm(points[:, None] - np.array(reach)[None], axis=2).min(axis=1)
    assert gaps.max() < 2e-3
    assert np.linalg.norm(points[-1] - points[0]) > 5e-3 or len(points) == 1
