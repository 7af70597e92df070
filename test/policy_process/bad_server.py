"""A model's process that misbehaves: python bad_server.py MODE socket memory parent.

It opens the fake policy as the real one does; MODE says what its first pass does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from dataclasses import replace

from dysl_vla_ros.errors import BundleError, ConfigError, EngineError
from dysl_vla_ros.policy import open_with_tokenizer
from dysl_vla_ros.policy_process import wire
from dysl_vla_ros.policy_process.serve import Server, serve

MODE, STREAM, MEMORY, PARENT = sys.argv[1:]
PREFIX = wire.PREFIX


def opener(config):
    if MODE == 'open_hangs':
        time.sleep(60)
    if MODE == 'open_dies':
        os.kill(os.getpid(), signal.SIGABRT)
    if MODE == 'bundle_error':
        raise BundleError('layer_03.onnx: SHA-256 differs')
    if MODE == 'config_error':
        raise ConfigError('engine.plans', '/nowhere', 'a folder')
    policy, tokenizer = open_with_tokenizer(config)
    if MODE == 'engine_error':
        policy.predict = raiser(EngineError('cuStreamSynchronize: CUDA_ERROR_UNKNOWN (999)'))
    if MODE == 'bug':
        policy.predict = raiser(ZeroDivisionError('a bug'))
    if MODE == 'memory':
        policy.predict = raiser(MemoryError())
    if MODE.startswith('learns'):
        policy.engine.prepare_for = learner(policy)
    return policy, tokenizer


def learner(policy):
    """Takes longer than a pass may (0.5 s), once per process and instruction; passes tell."""
    learnt, predict = [], policy.predict

    def prepare_for(inputs):
        if MODE == 'learns_badly':
            raise EngineError('graphs on a card: out of memory')
        time.sleep(0.8)
        learnt.append(inputs['tokens'].shape)

    def told(observation, plan):
        result = predict(observation, plan)
        return replace(result, stage_seconds={**result.stage_seconds, 'learnt': len(learnt) / 1})

    policy.predict = told
    return prepare_for


def raiser(error):
    def predict(observation, plan):
        raise error

    return predict


class Misbehaving(Server):
    def answer(self, request):
        if request.kind != 'open':
            stream = socket.socket(fileno=os.dup(int(STREAM)))
            act(stream)
        answer = super().answer(request)
        return spoil(answer) if request.kind != 'open' else answer


def act(stream):
    header = b'{"kind": "pass", "values": {}, "shared": false, "arrays": []}'
    if MODE == 'segv':
        os.kill(os.getpid(), signal.SIGSEGV)
    elif MODE == 'exit':
        os._exit(3)
    elif MODE == 'close':
        os.dup2(os.open(os.devnull, os.O_RDWR), int(STREAM))
        stream.close()
        time.sleep(60)
    elif MODE == 'hang':
        time.sleep(60)
    elif MODE == 'garbage':
        stream.sendall(os.urandom(64))
    elif MODE == 'long_header':
        stream.sendall(PREFIX.pack(wire.MAGIC, 2**32 - 1, 0) + b'{' * 1000)
    elif MODE == 'long_body':
        stream.sendall(PREFIX.pack(wire.MAGIC, len(header), 2**60) + header)
    elif MODE == 'deep':
        deep = b'[' * 100_000
        stream.sendall(PREFIX.pack(wire.MAGIC, len(deep), 0) + deep)
    elif MODE == 'empty':
        stream.sendall(PREFIX.pack(wire.MAGIC, len(header), 0) + header)
    elif MODE == 'drip':
        message = PREFIX.pack(wire.MAGIC, len(header), 0) + header
        for byte in message:
            stream.sendall(bytes([byte]))
            time.sleep(0.1)


def spoil(answer):
    values, arrays = dict(answer.values), dict(answer.arrays)
    if MODE == 'short':
        arrays['normalised'] = arrays['normalised'][:-1]
    elif MODE == 'layers':
        values['layers_run'] = [0, 99]
    elif MODE == 'token':
        values['token'] = 'one'
    elif MODE == 'kind':
        return wire.Message('opened', values, arrays)
    return wire.Message(answer.kind, values, arrays)


if __name__ == '__main__':
    sys.modules['dysl_vla_ros.policy_process.serve'].Server = Misbehaving
    sys.exit(serve(socket.socket(fileno=int(STREAM)), int(MEMORY), opener))
