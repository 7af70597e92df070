"""Bundles of ``dysl anchors``: which row of which table each is, and whether a bundle is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.modes import Mode

_CALLED = 'fixed_D, layers_N, random_static_S or stages_N, as dysl anchors calls them'


@dataclass(frozen=True)
class AnchorKind:
    """One kind of bundle.

    Attributes:
        mode: How it is played: what never skips dense, a distillation as it is deployed.
        shown: What tables call it, before its number.
        tables: Pieces with rows of it.
        numbers: For which these tables have a row.
        beside: Layers that it has beside as many as its number; None: as many as the deep policy.
    """

    mode: Mode
    shown: str
    tables: Sequence[str]
    numbers: Sequence[int]
    beside: int | None = None


_SUCCESS, _ABLATION = ('results_tabletop', 'results_heldout'), ('ablation_tabletop',)
KINDS = {
    'fixed': AnchorKind('full', 'tuned fixed', _SUCCESS, (8, 7, 6, 5), beside=1),
    'layers': AnchorKind('full', 'layers', _SUCCESS, (9, 6), beside=0),
    'random_static': AnchorKind('auto', 'random static', _ABLATION, (1, 2, 3)),
    'stages': AnchorKind('auto', 'stages', _ABLATION, (1, 2)),
}


@dataclass(frozen=True)
class Anchor:
    """A kind with its number: ``fixed_8``."""

    name: str
    kind: AnchorKind
    number: int

    @property
    def shown(self) -> str:
        """What tables call its row."""
        return f'{self.kind.shown} {self.number}'

    @property
    def layers(self) -> int | None:
        """How many it has; None: as many as the deep policy."""
        return None if self.kind.beside is None else self.number + self.kind.beside


def anchor_of(name: str) -> Anchor:
    """The anchor that is called so.

    Raises:
        ConfigError: None is.
    """
    kind, _, number = name.rpartition('_')
    if kind not in KINDS or not (number.isascii() and number.isdigit()):
        raise ConfigError('anchor', name, _CALLED)
    return Anchor(name, KINDS[kind], int(number))


def anchor_for(piece: str, name: str) -> Anchor:
    """The anchor of that name, as a row of a piece's table.

    Raises:
        ConfigError: That table has no such row.
    """
    anchor = anchor_of(name)
    if piece not in anchor.kind.tables or anchor.number not in anchor.kind.numbers:
        known = [f'{kind}_{number}' for kind, one in KINDS.items() if piece in one.tables
                 for number in one.numbers]  # fmt: skip
        rows = f'one of {", ".join(known)}' if known else 'no anchor'
        raise ConfigError('anchor', name, f'{rows}: the table of {piece} has no other rows')
    return anchor


def check_anchor(anchor: Anchor, manifest: Manifest) -> None:
    """Refuse a bundle that is not what ``dysl anchors`` makes of that name.

    Raises:
        ConfigError: Another name, another number of layers, or one that skips where none does.
    """
    said = f'the bundle of {anchor.name} that dysl anchors wrote'
    if manifest.name != anchor.name:
        raise ConfigError('engine', manifest.name, f'{said}: its manifest says that name')
    if anchor.layers is not None:
        if manifest.layers_total != anchor.layers:
            raise ConfigError('engine', f'{manifest.layers_total} layers',
                              f'{anchor.layers}, {said}')  # fmt: skip
        if len(manifest.static_layers) != manifest.layers_total:
            raise ConfigError('engine', f'{len(manifest.static_layers)} static layers',
                              f'all {anchor.layers}, {said}: it skips none')  # fmt: skip
