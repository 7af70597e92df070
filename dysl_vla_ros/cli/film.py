"""``dysl film``: an episode or a recording as a video or a picture, with its layers."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dysl_vla_ros.bringup import config_folder
from dysl_vla_ros.cli.inputs import look_at_bundle, need
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.values import COUNT_FROM_0, SEED, latency_seconds
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.modes import MODES, Row, mode_config, mode_policy
from dysl_vla_ros.node_parameters import load_yaml
from dysl_vla_ros.sim.goals import FAMILIES

_MODES = tuple(mode for mode in MODES if mode not in ('oracle', 'deer'))
"""The others are made by the workers of an evaluation."""

if TYPE_CHECKING:
    from dysl_vla_ros.lab.evaluation.episodes import EpisodeSpec

EXAMPLE = 'dysl film put the red cube into the bin --out film.png'
KEPT = 'nothing is written'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add('instruction', nargs='*', metavar='WORD',
        help="what to do: put the red cube into the bin; none: the seed's own")  # fmt: skip
    add('--out', type=Path, default=Path('film.gif'),
        help='.mp4: a video, .gif: an animation, .png: a sheet (default: film.gif)')  # fmt: skip
    add('--bag', type=Path, help='a recording (record:=true, or ~/chunk_info and a camera) '
                                 'instead of an episode')  # fmt: skip
    add('--camera', default='', help='of the recording (default: the first)')
    add('--engine', default='', help='bundle folder; default: the bundled model')
    add('--mode', default='auto', choices=_MODES, help='default: auto')
    add('--exit-layer', type=COUNT_FROM_0, default=0, help="of mode fixed; default: the bundle's")
    add('--seed', type=SEED, default=1_000_000,
        help='of the scene, or the first to look at (default: 1000000)')  # fmt: skip
    add('--family', default='bin', choices=FAMILIES,
        help="of the seed's own instruction (default: bin)")  # fmt: skip
    add('--latency', default='0.02',
        help='of a pass: measured, zero, or seconds (default: 0.02)')  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Play, draw, say what became of it."""
    look_at_bundle('--engine', given.engine)
    need('compressed', 'PIL')
    from dysl_vla_ros.lab.evaluation.film import record
    from dysl_vla_ros.lab.evaluation.film_pictures import check_target, write_film
    from dysl_vla_ros.policy import open_policy

    check_target(given.out)
    if given.bag is not None:
        return _of_bag(given)
    if given.camera:
        raise ConfigError('--camera', given.camera, '--bag beside it')
    latency, spec = latency_seconds(given.latency), _spec(given)
    config = load_yaml(config_folder() / 'robots' / 'sim.yaml')
    policy = open_policy(replace(config.engine, path=given.engine))
    row = Row(given.mode, exit_layer=given.exit_layer, share=0.5)
    film = record(mode_policy(policy, row, given.seed), mode_config(config, row), spec, latency)
    write_film(given.out, film)
    ended = 'done' if film.success else 'not done'
    Output(highlight=False).say(
        f'{film.instruction}: {ended} in {film.seconds:.1f} s, {len(film.frames)} chunks; '
        f'wrote {given.out}'
    )
    return 0 if film.success else 1


def _of_bag(given: argparse.Namespace) -> int:
    from dysl_vla_ros.lab.evaluation.film_bag import film_of
    from dysl_vla_ros.lab.evaluation.film_pictures import write_film

    if given.instruction or given.engine:
        named = ' '.join(given.instruction) or given.engine
        raise ConfigError('--bag', str(given.bag), f'no {named!r} beside it: nothing is played')
    film = film_of(given.bag, given.camera)
    write_film(given.out, film)
    Output(highlight=False).say(
        f'{film.instruction}: {len(film.frames)} passes in {film.seconds:.1f} s; wrote {given.out}'
    )
    return 0


def _spec(given: argparse.Namespace) -> EpisodeSpec:
    from dysl_vla_ros.lab.evaluation.episodes import EpisodeSpec

    return EpisodeSpec(given.seed, given.family, request=' '.join(given.instruction))
