"""A model's process for the test arm: python model_server.py socket memory parent.

All is real but the model: it moves the first joint to and fro, as ``fakes.FakePolicy`` does.
Where DYSL_TEST_LEARNS says for how many seconds, its engine prepares for each new instruction.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]


def opener(config):
    import fakes
    import numpy as np

    from dysl_vla_ros.bundle.no_files import COUNTS_WORDS
    from dysl_vla_ros.engines.fake.engine import FakeEngine
    from dysl_vla_ros.policy import Policy, load_tokenizer

    manifest = fakes.make_manifest()
    direction = [1.0]

    def actions(inputs):
        joint = float(inputs['proprioception'][0][0])
        if abs(joint) > 0.5:
            direction[0] = -np.sign(joint)
        chunk = np.zeros((manifest.action.horizon, manifest.action.dim))
        chunk[:, 0] = 0.5 * direction[0]
        return chunk

    engine = FakeEngine(manifest.layout, actions=actions, action_dim=manifest.action.dim)
    learning = float(os.environ.get('DYSL_TEST_LEARNS', '0'))
    if learning:
        engine.prepare_for = lambda inputs: time.sleep(learning)
    return Policy(engine, manifest, load_tokenizer(manifest, COUNTS_WORDS)), COUNTS_WORDS


if __name__ == '__main__':
    from dysl_vla_ros.policy_process.serve import serve

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), opener))
