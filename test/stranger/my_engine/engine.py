"""A bundle's graphs on onnx's reference evaluator: numpy, slow, and no ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator


def open_engine(bundle, threads):
    return Reference(bundle)


class Reference:
    """See ``dysl_vla_ros.engines.engine.Engine``."""

    def __init__(self, bundle):
        self.layout = bundle.manifest.layout
        self.device = f'CPU (onnx {onnx.__version__}, its reference)'
        self._graphs = {name: ReferenceEvaluator(str(bundle.path(spec.file)))
                        for name, spec in bundle.manifest.segments.items()}  # fmt: skip
        self._known = {}
        self._gate = (-1, 0.0)

    def encode(self, inputs):
        self._known = dict(inputs)
        for name in ('vision', 'embed'):
            if name in self._graphs:
                self._known |= self._run(name, self._known)
        return self._known['hidden']

    def run_layer(self, layer, hidden):
        found = self._run(f'layer_{layer:02d}', {**self._known, 'hidden': hidden})
        if 'gate' in found:
            self._gate = layer + 1, float(found['gate'].reshape(-1)[0])
        return found['hidden_out']

    def skip_score(self, layer, hidden):
        asked, gate = self._gate
        assert asked == layer
        return gate

    def bridge(self, layer, hidden):
        return self._run(f'bridge_{layer:02d}', {**self._known, 'hidden': hidden})['hidden_out']

    def keep(self, hidden):
        return np.copy(hidden), self._gate

    def restore(self, kept):
        hidden, self._gate = kept
        return np.copy(hidden)

    def decode(self, hidden):
        return self._run('head', {'hidden': hidden})['actions'][0].astype(np.float64)

    def synchronize(self):
        pass

    def close(self):
        self._graphs = {}

    def _run(self, name, known):
        graph = self._graphs[name]
        found = graph.run(None, {wanted: known[wanted] for wanted in graph.input_names})
        return dict(zip(graph.output_names, found, strict=True))
