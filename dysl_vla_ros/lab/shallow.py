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

from dysl_vla_ros.lab.anchors import (
    RunData,
    check_depth,
    dense_of,
    made_once,
    of_depth,
    with_figures,
    without_exits,
)
from dysl_vla_ros.lab.begun_with import Stages
from dysl_vla_ros.lab.learn.made_of import checkpoint_of
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
    dense = dense_of(folder)
    found = {}
    data, stages = RunData(folder), Stages(space.folder, space.say, space.main)
    for depth in depths:
        check_depth(depth, dense)
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
    network = of_depth(recipe.network, depth, recipe.network['auxiliary_layer'])
    rounds = tuple(replace(one, train=without_exits(one.train)) for one in recipe.rounds)
    return replace(recipe, network=network, train=without_exits(recipe.train), rounds=rounds)
