"""The paper's question to a policy: does noise on the weights hurt more in some phases?

A copy of the bundle gets noise on the weights of every layer; an episode is then played dense, by
the copy in some phases of the task and by the bundle as it is in the others.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.folder import file_entry, open_bundle, write_manifest
from dysl_vla_ros.data_types import Observation, SkipPlan
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.policy import Pass, Policy

_LAYER = 'layer_'


def noisy_copy(source: Path, folder: Path, sigma: float, seed: int = 0) -> Path:
    """A bundle whose layers have noise on their matrices.

    Args:
        source: A bundle.
        folder: Of the copy; new.
        sigma: Standard deviation of the noise, as a share of each matrix's root mean square.
        seed: Of the noise.

    Returns:
        ``folder``.

    Raises:
        BundleError: No bundle, or an altered one.
        ConfigError: It keeps weights in files of their own, as large models do.
    """
    import onnx
    from onnx import numpy_helper

    manifest, chance = open_bundle(source).manifest, np.random.default_rng(seed)
    shutil.copytree(source, folder)
    files = dict(manifest.files)
    for name, spec in manifest.segments.items():
        if not name.startswith(_LAYER):
            continue
        if spec.data:
            raise ConfigError('noise', sigma, f'a bundle with its weights in the graphs: {name} '
                              f'keeps them in {spec.data}')  # fmt: skip
        path = folder / spec.file
        graph = onnx.load(path)
        for tensor in graph.graph.initializer:
            weight = numpy_helper.to_array(tensor)
            if weight.ndim < 2 or weight.dtype.kind != 'f':
                continue
            scale = sigma * float(np.sqrt((weight.astype(np.float64) ** 2).mean()))
            noisy = weight + scale * chance.standard_normal(weight.shape)
            tensor.CopyFrom(numpy_helper.from_array(noisy.astype(weight.dtype), tensor.name))
        path.unlink()  # the copy's, also where the source is a link
        onnx.save(graph, path)
        files[spec.file] = file_entry(path)
    write_manifest(folder, replace(manifest, files=files))
    return folder


class NoisyIn:
    """A policy that is another one in some phases; every pass is dense."""

    def __init__(
        self, policy: Policy, noisy: Policy, phase: Callable[[], str], phases: Sequence[str]
    ) -> None:
        """Join two policies of one bundle.

        Args:
            policy: As it is.
            noisy: With noise.
            phase: What the arm is doing now.
            phases: In which ``noisy`` is asked.
        """
        self._policy, self._noisy = policy, noisy
        self._phase, self._phases = phase, phases
        self.manifest = policy.manifest

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """As the policy's."""
        return self._policy.tokens(instruction)

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """Of the one whose phase it is."""
        asked: Any = self._noisy if self._phase() in self._phases else self._policy
        found: Pass = asked.predict(observation, self.manifest.layout.full_plan())
        return found

    def rerun(self, first: Pass) -> Pass:
        """Never asked for: no pass skips."""
        return self._policy.rerun(first)
