"""What an author may get wrong, one thing each."""

from __future__ import annotations

import sys

import numpy as np

from dysl_vla_ros.data_types import LayerLayout

from .engine import Reference


class _Unkept(Reference):
    """Works in one buffer, and keeps that buffer."""

    def run_layer(self, layer, hidden):
        hidden[...] = super().run_layer(layer, hidden)
        return hidden

    def bridge(self, layer, hidden):
        hidden[...] = super().bridge(layer, hidden)
        return hidden

    def keep(self, hidden):
        return hidden, self._gate

    def restore(self, kept):
        hidden, self._gate = kept
        return hidden


class _Endless(Reference):
    def decode(self, hidden):
        return super().decode(hidden) / 0.0


class _Halved(Reference):
    def decode(self, hidden):
        return super().decode(hidden)[:4]


class _Odd(Reference):
    def skip_score(self, layer, hidden):
        return 10.0 * super().skip_score(layer, hidden) + 1.0


class _Noisy(Reference):
    def decode(self, hidden):
        return super().decode(hidden) + np.random.default_rng().normal(size=(8, 7))


class _Weary(Reference):
    _left = 12

    def decode(self, hidden):
        self._left -= 1
        if self._left < 0:
            raise ValueError('too warm')
        return super().decode(hidden)


class _Leaving(_Weary):
    def decode(self, hidden):
        try:
            return super().decode(hidden)
        except ValueError:
            sys.exit(0)


def weary(bundle, threads):
    return _Weary(bundle)


def leaving(bundle, threads):
    return _Leaving(bundle)


def unkept(bundle, threads):
    return _Unkept(bundle)


def endless(bundle, threads):
    with np.errstate(all='ignore'):
        return _Endless(bundle)


def halved(bundle, threads):
    return _Halved(bundle)


def odd(bundle, threads):
    return _Odd(bundle)


def noisy(bundle, threads):
    return _Noisy(bundle)


def unprepared(bundle, threads):
    engine = Reference(bundle)
    engine.prepare_for = lambda: None  # takes no inputs
    return engine


def shallow(bundle, threads):
    engine = Reference(bundle)
    engine.layout = LayerLayout(3, (0, 2))
    return engine


def empty(bundle, threads):
    return object()


def raising(bundle, threads):
    raise RuntimeError('no such card')


def offline(bundle, threads):
    import dysl_vla_ros.cli.calls  # noqa: F401

    return Reference(bundle)


nothing = 7
