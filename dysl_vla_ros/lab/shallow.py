"""Shallow dense policies that are corrected where they themselves went.

``anchors`` trains policies of n layers on the corrections that a run has. A run that began with a
finished policy (``dysl recipe --start``) has none; and what a deep policy did wrong is not what a
shallow one does. Here each makes the whole recipe of the dense policy: warm-up and training on
the demonstrations of the run, then rounds in which it plays and the expert labels where it went.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.anchors import RunData, dense_of, made_once, with_figures
from dysl_vla_ros.lab.begun_with import Stages
from dysl_vla_ros.lab.learn.made_of import checkpoint_of
from dysl_vla_ros.lab.learn.train import TrainSettings
from dysl_vla_ros.lab.recipe import Recipe, Run
from dysl_vla_ros.lab.workspace import Workspace


def make_corrected(
    folder: Path, depths: Sequence[int], recipe: Recipe, space: Workspace, workers: int
) -> dict[str, Path]:
    """Train what is missing; each has a folder of its own in the workspace.

    Args:
        folder: Of the run whose demonstrations are taken.
        depths: Layers of each.
        recipe: Of the run.
        space: Gets ``layers_N.safetensors``.
        workers: Processes that simulate.

    Returns:
        Name -> checkpoint.

    Raises:
        ConfigError: There is no such depth, the run has no dense policy, or a file that is there
            was made of something else.
    """
    deepest = dense_of(folder).config.layers
    found = {}
    data, stages = RunData(folder), Stages(space.folder, space.say, space.main)
    for depth in depths:
        if not 3 <= depth <= deepest:
            raise ConfigError('layers', depth, f'3 to {deepest}')
        name = f'layers_{depth}'
        own = Workspace(space.folder / name, space.folder / name, space.device, space.progress,
                        space.told)  # fmt: skip
        job = Run(shallow(recipe, depth), own, workers)
        with job.exits:
            job.data = data.get(0)
            checkpoint = job.dense()
            for number, plan in enumerate(job.recipe.rounds, start=1):
                checkpoint = job.correct(number, checkpoint, plan)
        found[name] = space.folder / f'{name}.safetensors'
        # 'run' is what policies with the corrections of the run are made of.
        made_of = {'start': checkpoint_of(checkpoint), 'run': 'corrections of its own'}
        made_once(stages, found[name], made_of, partial(with_figures, checkpoint, own, name))
    return found


def shallow(recipe: Recipe, depth: int) -> Recipe:
    """The recipe of a policy of so many layers, which leaves at none of them early."""
    auxiliary = min(int(recipe.network['auxiliary_layer']), depth - 1)
    network = {**recipe.network, 'layers': depth, 'auxiliary_layer': auxiliary}
    rounds = tuple(replace(one, train=_plain(one.train)) for one in recipe.rounds)
    return replace(recipe, network=network, train=_plain(recipe.train), rounds=rounds)


def _plain(plan: TrainSettings) -> TrainSettings:
    return replace(plan, exits=0, exit_layers=(0, 0))
