"""Opening and binding one ONNX Runtime session.

Thread spinning is off: with it, the idle threads of some forty sessions would starve the one at
work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.bundle.manifest import SegmentSpec
from dysl_vla_ros.errors import EngineError

_TYPES = {
    'tensor(float)': 'float32',
    'tensor(float16)': 'float16',
    'tensor(double)': 'float64',
    'tensor(int64)': 'int64',
    'tensor(int32)': 'int32',
    'tensor(bool)': 'bool',
}
_ERRORS_ONLY = 3


def session_options(threads: int) -> Any:
    """Options of every session: ``threads`` threads, which sleep when there is nothing to do."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    return options


def load_graph(model: str | bytes, options: Any) -> Any:
    """A session of a file, or of a serialised model; raises what ONNX Runtime raises."""
    return ort.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def bind(
    session: Any,
    name: str,
    spec: SegmentSpec,
    reads: Mapping[str, NDArray[Any]],
    writes: Mapping[str, NDArray[Any]],
) -> Any:
    """Bind a session to arrays; they must outlive the binding.

    Args:
        session: From ``open_session``.
        name: Of the segment, for messages.
        spec: Its inputs and outputs.
        reads: Arrays by input name; more than needed is fine.
        writes: Arrays by output name.

    Raises:
        EngineError: A tensor has no array, or one of another shape or type.
    """
    binding = session.io_binding()
    for kind, tensors, arrays, bind in (
        ('input', spec.inputs, reads, binding.bind_input),
        ('output', spec.outputs, writes, binding.bind_output),
    ):
        for tensor in tensors:
            array = arrays.get(tensor.name)
            if array is None:
                raise EngineError(
                    f'segment {name}: {kind} {tensor.name!r}: expected one of {sorted(arrays)}'
                )
            if (array.shape, str(array.dtype)) != (tensor.shape, tensor.dtype):
                raise EngineError(
                    f'segment {name}: {kind} {tensor.name!r} {tensor.shape} of {tensor.dtype}: '
                    f'expected {array.shape} of {array.dtype}, as its neighbours have'
                )
            bind(tensor.name, 'cpu', 0, array.dtype.type, array.shape, array.ctypes.data)
    return binding


def open_session(bundle: Bundle, name: str, options: Any) -> Any:
    """Load one segment and compare it with the manifest.

    Raises:
        EngineError: It cannot be loaded, keeps weights in a file that the manifest does not cover,
            or its inputs or outputs are not those of the manifest.
    """
    spec = bundle.manifest.segments[name]
    try:
        session = load_graph(str(bundle.graph(name)), options)
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        raise EngineError(
            f'segment {name} ({spec.file}): ONNX Runtime {ort.__version__} cannot load it: '
            f'{first_line(error)}; export the bundle again'
        ) from error
    for kind, found, listed in (
        ('input', session.get_inputs(), spec.inputs),
        ('output', session.get_outputs(), spec.outputs),
    ):
        graph = {
            item.name: (tuple(item.shape), _TYPES.get(item.type, item.type)) for item in found
        }
        said = {item.name: (item.shape, item.dtype) for item in listed}
        if graph != said:
            raise EngineError(
                f'segment {name} ({spec.file}): {kind}s {graph}: expected {said}, '
                'as the manifest says'
            )
    return session


def first_line(error: Exception) -> str:
    """What went wrong, without the stack that some libraries append."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
