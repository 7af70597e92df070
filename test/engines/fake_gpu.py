"""A GPU and a TensorRT made of host memory and ONNX Runtime, for the tests of the TensorRT engine.

The device runs what was queued only when somebody waits for it, from the memory as it is then: a
missing wait, a buffer that is overwritten too early, or a result read too soon all give wrong
numbers. Its memory starts as garbage. The module has no attribute that ``tensorrt_api.API`` does
not list. A fake plan is the ONNX file behind a magic word.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort

from dysl_vla_ros.engines.onnxruntime.session import session_options
from dysl_vla_ros.engines.tensorrt.api import API
from dysl_vla_ros.engines.tensorrt.device import Gpu
from dysl_vla_ros.errors import EngineError

GPU = Gpu('Orin', '8.7', 16, '12.6')
ENUMS = (
    'TensorIOMode', 'DataType', 'ExecutionContextAllocationStrategy', 'MemoryPoolType',
    'BuilderFlag', 'ILogger.Severity',
)  # fmt: skip
MAGIC = b'fake plan\n'
STREAM = 4242
ACTIVATION = 512
ONNX_TYPES = {
    'tensor(float)': 'FLOAT', 'tensor(float16)': 'HALF', 'tensor(int64)': 'INT64',
    'tensor(int32)': 'INT32', 'tensor(bool)': 'BOOL',
}  # fmt: skip
PROTO_TYPES = {1: 'FLOAT', 10: 'HALF', 7: 'INT64', 6: 'INT32', 9: 'BOOL'}
NUMPY = {
    'FLOAT': np.float32, 'HALF': np.float16, 'INT64': np.int64, 'INT32': np.int32, 'BOOL': np.bool_
}  # fmt: skip


def at(address, size):
    """The bytes at an address."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class FakeDevice:
    """``engines.tensorrt.device.Device`` over host memory, lazy.

    Attributes:
        launches: Labels of the work in each launched graph, in order.
        ran: Labels of all work that ran, in order.
        waits: How often the host waited for an event.
    """

    stream = STREAM

    def __init__(self):
        self.launches, self.ran, self.waits = [], [], 0
        self.allocated = 0
        self.closed = False
        self._memory = []
        self._queue = []
        self._recording = None

    def allocate(self, size):
        self._open()
        raw = np.full(size + 256, 0xAB, np.uint8)
        self._memory.append(raw)
        self.allocated += 1
        return -(-raw.ctypes.data // 256) * 256

    def allocate_pinned(self, size):
        self._open()
        self._memory.append(np.full(size, 0xCD, np.uint8))
        return self._memory[-1]

    def copy_to_device(self, target, source):
        self.queue('upload', lambda: self._move(target, source.ctypes.data, source.nbytes))

    def copy_to_host(self, target, source):
        self.queue('fetch', lambda: self._move(target.ctypes.data, source, target.nbytes))

    def copy(self, target, source, size):
        self.queue('copy', lambda: self._move(target, source, size))

    def queue(self, label, work):
        self._open()
        (self._queue if self._recording is None else self._recording).append((label, work))

    def capture(self, body):
        self._open()
        assert self._recording is None, 'captures do not nest'
        assert self._queue == [], 'wait before a capture'
        self._recording = []
        try:
            body()
            return tuple(self._recording)
        finally:
            self._recording = None

    def launch(self, graph):
        self._open()
        self.launches.append([label for label, _ in graph])
        self._queue.extend(graph)

    def wait(self):
        self.waits += 1
        self._run()

    def synchronize(self):
        self._run()

    def close(self):
        self.closed = True

    def _run(self):
        self._open()
        assert self._recording is None, 'waiting is forbidden inside a capture'
        queue, self._queue = self._queue, []
        for label, work in queue:
            work()
            self.ran.append(label)

    def _open(self):
        if self.closed:
            raise EngineError('the device is closed')

    @staticmethod
    def _move(target, source, size):
        ctypes.memmove(target, source, size)


def fake_tensorrt(device, *, version='10.3.0', poison=False, refuse=()):
    """A module like ``tensorrt`` over a fake device.

    Args:
        device: Where executions are queued.
        version: What it says it is.
        poison: Fill the hidden state that a segment consumed with NaN right afterwards.
        refuse: Operators that the parser does not know.
    """
    enums = {name: enum.Enum(name, list(API[name])) for name in ENUMS}
    severity = enums.pop('ILogger.Severity')
    user_managed = enums['ExecutionContextAllocationStrategy'].USER_MANAGED

    class ILogger:
        Severity = severity

        def __init__(self):
            pass

        def log(self, severity, msg):
            raise NotImplementedError

    class Runtime:
        def __init__(self, logger):
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine):
            if not serialized_engine.startswith(MAGIC):
                self._logger.log(severity.ERROR, 'magic tag does not match')
                return None
            return ICudaEngine(serialized_engine[len(MAGIC) :])

    class ICudaEngine:
        def __init__(self, graph):
            self._session = ort.InferenceSession(graph, session_options(1))
            self._inputs = {item.name: item for item in self._session.get_inputs()}
            self._outputs = {item.name: item for item in self._session.get_outputs()}
            self._all = {**self._inputs, **self._outputs}
            self.num_io_tensors = len(self._all)
            self.device_memory_size_v2 = ACTIVATION * len(self._all)

        def get_tensor_name(self, index):
            return list(self._all)[index]

        def get_tensor_mode(self, name):
            modes = enums['TensorIOMode']
            return modes.INPUT if name in self._inputs else modes.OUTPUT

        def get_tensor_shape(self, name):
            return tuple(self._all[name].shape)

        def get_tensor_dtype(self, name):
            return getattr(enums['DataType'], ONNX_TYPES[self._all[name].type])

        def create_execution_context(self, strategy):
            assert strategy is user_managed
            return IExecutionContext(self)

    class IExecutionContext:
        def __init__(self, engine):
            self._engine, self._addresses, self._memory = engine, {}, None
            self._captured = False

        def set_device_memory(self, memory, size):
            assert memory % 256 == 0 and size >= self._engine.device_memory_size_v2
            self._memory = memory

        def set_tensor_address(self, name, memory):
            assert memory % 256 == 0
            assert name not in self._addresses, 'a captured context must not change'
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle):
            assert stream_handle == STREAM
            assert set(self._addresses) == set(self._engine._all) and self._memory
            # The first execution of a real context may allocate, which a capture forbids.
            assert self._captured or device._recording is None
            self._captured = True
            device.queue(self._engine._session.get_modelmeta().graph_name, self._execute)
            return True

        def _execute(self):
            engine = self._engine
            at(self._memory, engine.device_memory_size_v2)[:] = next(garbage)
            given = {name: self._view(item).copy() for name, item in engine._inputs.items()}
            made = engine._session.run(list(engine._outputs), given)
            if poison and 'hidden' in given:
                self._view(engine._inputs['hidden'])[:] = np.nan
            for item, value in zip(engine._outputs.values(), made, strict=True):
                self._view(item)[:] = value

        def _view(self, item):
            kind = np.dtype(NUMPY[ONNX_TYPES[item.type]])
            size = int(np.prod(item.shape)) * kind.itemsize
            return at(self._addresses[item.name], size).view(kind).reshape(item.shape)

    garbage = itertools.cycle((0xFF, 0x00, 0x7F))

    class ITensor:
        def __init__(self, value):
            kind = value.type.tensor_type
            self.name = value.name
            self.shape = tuple(dim.dim_value for dim in kind.shape.dim)
            self.dtype = getattr(enums['DataType'], PROTO_TYPES[kind.elem_type])

    class INetworkDefinition:
        def __init__(self):
            self._file, self._inputs, self._outputs = b'', [], []

        @property
        def num_inputs(self):
            return len(self._inputs)

        @property
        def num_outputs(self):
            return len(self._outputs)

        def get_input(self, index):
            return self._inputs[index]

        def get_output(self, index):
            return self._outputs[index]

    class Builder:
        def __init__(self, logger):
            self._logger = logger

        def create_network(self, flags):
            assert flags == 1 << 1, 'strongly typed'
            return INetworkDefinition()

        def create_builder_config(self):
            return IBuilderConfig()

        def build_serialized_network(self, network, config):
            assert config._cleared == ['TF32'] and config._cache is not None
            config._cache.entries += b'.'
            return IHostMemory(MAGIC + network._file)

    class IHostMemory(bytes):
        @property
        def nbytes(self):
            return len(self)

    class ITimingCache:
        def __init__(self, entries):
            self.entries = bytes(entries)

        def serialize(self):
            return IHostMemory(self.entries)

    class IBuilderConfig:
        builder_optimization_level = 3

        def __init__(self):
            self._cleared, self._cache = [], None

        def clear_flag(self, flag):
            self._cleared.append(flag.name)

        def set_memory_pool_limit(self, pool, pool_size):
            assert pool.name == 'WORKSPACE' and pool_size > 0

        def create_timing_cache(self, serialized_timing_cache):
            damaged = serialized_timing_cache.startswith(b'damaged')
            return None if damaged else ITimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache, ignore_mismatch):
            assert ignore_mismatch is False
            self._cache = cache
            return True

    class ParserError:
        def __init__(self, node):
            self._node = node

        def desc(self):
            return 'No importer registered for op'

        def node_name(self):
            return self._node.name

        def node_operator(self):
            return self._node.op_type

    class OnnxParser:
        def __init__(self, network, logger):
            self._network, self._errors = network, []

        def parse_from_file(self, model):
            import onnx

            graph = onnx.load(model).graph
            self._errors = [ParserError(node) for node in graph.node if node.op_type in refuse]
            with open(model, 'rb') as stream:
                self._network._file = stream.read()
            self._network._inputs = [ITensor(value) for value in graph.input]
            self._network._outputs = [ITensor(value) for value in graph.output]
            return not self._errors

        @property
        def num_errors(self):
            return len(self._errors)

        def get_error(self, index):
            return self._errors[index]

    return SimpleNamespace(
        __version__=version, ILogger=ILogger, Runtime=Runtime, ICudaEngine=ICudaEngine,
        IExecutionContext=IExecutionContext, Builder=Builder, IBuilderConfig=IBuilderConfig,
        ITimingCache=ITimingCache, IHostMemory=IHostMemory, OnnxParser=OnnxParser,
        ParserError=ParserError, INetworkDefinition=INetworkDefinition, ITensor=ITensor,
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        **enums,
    )  # fmt: skip
