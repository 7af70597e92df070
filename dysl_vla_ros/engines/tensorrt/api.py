"""All that we use of TensorRT's Python module: the API common to 10.3, 10.16 and 11.

Nothing here may be called before ``cuda_driver.open_driver`` found a device: without a driver,
deserialising a plan crashes the process.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dysl_vla_ros.bundle.manifest import TensorSpec
from dysl_vla_ros.errors import EngineError

OLDEST = (10, 3)

API: dict[str, dict[str, tuple[str, ...] | None]] = {
    'Runtime': {'__init__': ('logger',), 'deserialize_cuda_engine': ('serialized_engine',)},
    'ICudaEngine': {
        'num_io_tensors': None,
        'device_memory_size_v2': None,
        'get_tensor_name': ('index',),
        'get_tensor_mode': ('name',),
        'get_tensor_shape': ('name',),
        'get_tensor_dtype': ('name',),
        'create_execution_context': ('strategy',),
    },
    'IExecutionContext': {
        'set_tensor_address': ('name', 'memory'),
        'set_device_memory': ('memory', 'size'),
        'execute_async_v3': ('stream_handle',),
    },
    'Builder': {
        '__init__': ('logger',),
        'create_network': ('flags',),
        'create_builder_config': (),
        'build_serialized_network': ('network', 'config'),
    },
    'IBuilderConfig': {
        'builder_optimization_level': None,
        'clear_flag': ('flag',),
        'set_memory_pool_limit': ('pool', 'pool_size'),
        'create_timing_cache': ('serialized_timing_cache',),
        'set_timing_cache': ('cache', 'ignore_mismatch'),
    },
    'INetworkDefinition': {
        'num_inputs': None,
        'num_outputs': None,
        'get_input': ('index',),
        'get_output': ('index',),
    },
    'ITensor': {'name': None, 'shape': None, 'dtype': None},
    'ITimingCache': {'serialize': ()},
    'IHostMemory': {'nbytes': None},
    'OnnxParser': {
        '__init__': ('network', 'logger'),
        'parse_from_file': ('model',),
        'num_errors': None,
        'get_error': ('index',),
    },
    'ParserError': {'desc': (), 'node_name': (), 'node_operator': ()},
    'ILogger': {'__init__': (), 'log': ('severity', 'msg')},
    'ILogger.Severity': {'INTERNAL_ERROR': None, 'ERROR': None, 'WARNING': None},
    'NetworkDefinitionCreationFlag': {'STRONGLY_TYPED': None},
    'BuilderFlag': {'TF32': None},
    'MemoryPoolType': {'WORKSPACE': None},
    'ExecutionContextAllocationStrategy': {'USER_MANAGED': None},
    'TensorIOMode': {'INPUT': None, 'OUTPUT': None},
    'DataType': {'FLOAT': None, 'HALF': None, 'INT64': None, 'INT32': None, 'BOOL': None},
}
"""Class -> what we use of it, with the names of the arguments, or None for a value.

A test compares it with the real bindings of several versions; the tests' stand-in for TensorRT
has nothing but this, so that nothing can be used without being listed.
"""

_NUMPY_NAMES = {
    'FLOAT': 'float32', 'HALF': 'float16', 'INT64': 'int64', 'INT32': 'int32', 'BOOL': 'bool',
}  # fmt: skip
_log = logging.getLogger(__name__)


def load_tensorrt() -> Any:
    """The ``tensorrt`` module.

    Raises:
        EngineError: It is not installed, or too old.
    """
    try:
        trt = importlib.import_module('tensorrt')
    except ImportError as error:
        raise EngineError(
            f'tensorrt cannot be imported ({error}): on a Jetson apt install python3-libnvinfer '
            '(a virtual environment needs --system-site-packages to see it); elsewhere pip '
            'install tensorrt'
        ) from None
    parts = trt.__version__.split('.')
    if tuple(int(part) for part in parts[:2]) < OLDEST:
        raise EngineError(f'TensorRT {trt.__version__}: expected 10.3 (JetPack 6.2) or newer')
    return trt


@dataclass(frozen=True)
class PlanTensor:
    """An input or output of a plan."""

    mode: Literal['input', 'output']
    spec: TensorSpec


_loggers: dict[int, tuple[Any, Any]] = {}


def logger_of(trt: Any) -> Any:
    """The logger of a TensorRT module: it forwards warnings and keeps errors in ``errors``.

    One for the whole process: TensorRT ignores every later one.
    """
    if id(trt) not in _loggers:
        _loggers[id(trt)] = trt, _make_logger(trt)
    return _loggers[id(trt)][1]


def _make_logger(trt: Any) -> Any:
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity)
            if level == logging.ERROR:
                self.errors.append(msg)
            if level is not None:
                _log.log(level, 'TensorRT: %s', msg)

    return Logger()


def tensor_spec(name: str, shape: Any, dtype: Any) -> TensorSpec:
    """TensorRT's name, shape and data type as the manifest writes them."""
    sizes = tuple(int(size) for size in shape)
    return TensorSpec(name, sizes, _NUMPY_NAMES.get(dtype.name, str(dtype.name)))


class Runtime:
    """Deserialises plans."""

    def __init__(self, trt: Any) -> None:
        """Open TensorRT's runtime; the driver was probed before."""
        self._trt = trt
        self._logger = logger_of(trt)
        self._runtime = trt.Runtime(self._logger)

    @property
    def version(self) -> str:
        """TensorRT's version."""
        return str(self._trt.__version__)

    def load(self, name: str, data: bytes) -> Plan:
        """Deserialise a plan whose checksum and target were compared before.

        Raises:
            EngineError: TensorRT refuses it.
        """
        self._logger.errors.clear()
        engine = self._runtime.deserialize_cuda_engine(data)
        if engine is None:
            reason = '; '.join(self._logger.errors) or 'no reason given'
            raise EngineError(f'segment {name}: TensorRT cannot load its plan: {reason}')
        return Plan(self._trt, name, engine, self._logger)


class Plan:
    """A loaded plan: weights on the device, tensors by name."""

    def __init__(self, trt: Any, name: str, engine: Any, logger: Any) -> None:
        """Read what the plan says of itself."""
        self._trt, self._engine, self._logger = trt, engine, logger
        self.name = name
        self.activation_bytes = int(engine.device_memory_size_v2)
        self.tensors: Mapping[str, PlanTensor] = {
            tensor: self._describe(tensor)
            for tensor in map(engine.get_tensor_name, range(engine.num_io_tensors))
        }

    def bind(self, addresses: Mapping[str, int], memory: int, size: int) -> BoundPlan:
        """An execution of this plan over fixed addresses; captured once per binding.

        Args:
            addresses: Device address by tensor name; more than needed is fine.
            memory: The activation block, shared by all plans of one stream.
            size: Its bytes.

        Raises:
            EngineError: TensorRT refuses, or a tensor has no address.
        """
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise EngineError(f'segment {self.name}: no execution context: {self._errors()}')
        context.set_device_memory(memory, size)
        for tensor in self.tensors:
            if tensor not in addresses:
                raise EngineError(
                    f'segment {self.name}: tensor {tensor!r}: expected one of {sorted(addresses)}'
                )
            if not context.set_tensor_address(tensor, addresses[tensor]):
                raise EngineError(f'segment {self.name}: tensor {tensor!r}: {self._errors()}')
        return BoundPlan(self.name, context, self._logger)

    def _describe(self, tensor: str) -> PlanTensor:
        engine = self._engine
        reads = engine.get_tensor_mode(tensor) == self._trt.TensorIOMode.INPUT
        spec = tensor_spec(
            tensor, engine.get_tensor_shape(tensor), engine.get_tensor_dtype(tensor)
        )
        return PlanTensor('input' if reads else 'output', spec)

    def _errors(self) -> str:
        return '; '.join(self._logger.errors) or 'no reason given'


class BoundPlan:
    """An execution context with every address set."""

    def __init__(self, name: str, context: Any, logger: Any) -> None:
        """Take the context."""
        self.name, self._context, self._logger = name, context, logger

    def enqueue(self, stream: int) -> None:
        """Queue one execution on a stream.

        Raises:
            EngineError: TensorRT refuses.
        """
        if not self._context.execute_async_v3(stream):
            reason = '; '.join(self._logger.errors) or 'no reason given'
            raise EngineError(f'segment {self.name}: TensorRT did not run it: {reason}')
