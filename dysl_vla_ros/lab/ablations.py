"""Other distillations of one dense policy: what the choices of the recipe are worth.

    random_static_S   static layers drawn by lot with seed S, as many as the scores would choose
    stages_1          adapters and controllers together from the first update on
    stages_2          half of the updates adapters alone, then both

All take the dense policy and the demonstrations that a run of the recipe left in its folder, as
many updates in all as its distillation makes, and a calibration of their own as it does. What is
there is not made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dysl_vla_ros.lab.anchors import data_of, dense_of
from dysl_vla_ros.lab.recipe import Recipe, Run
from dysl_vla_ros.lab.workspace import Workspace


def distillations(
    recipe: Recipe, lots: Sequence[int], stages: Sequence[int], seed: int = 0
) -> dict[str, Recipe]:
    """By name, the recipe with what it distils otherwise.

    Args:
        recipe: Of the run.
        lots: Seeds by which static layers are drawn.
        stages: 1 or 2, a distillation for each.
        seed: Of weights and order.
    """
    plan = replace(recipe.distill, seed=seed)
    recipe = replace(recipe, seed=seed, distill=plan)
    steps = plan.adapter_steps + plan.controller_steps
    found = {f'random_static_{lot}': replace(recipe, static_lot=lot) for lot in lots}
    for count in stages:
        alone = steps // 2 if count == 2 else 0
        other = replace(plan, adapter_steps=alone, controller_steps=steps - alone)
        found[f'stages_{count}'] = replace(recipe, distill=other)
    return found


def make_ablations(
    folder: Path, recipes: Mapping[str, Recipe], space: Workspace, workers: int
) -> dict[str, Path]:
    """Distil and calibrate what is missing; each has a folder of its own in the workspace.

    Args:
        folder: Of the run whose dense policy and demonstrations are taken.
        recipes: By name.
        space: Gets the folders.
        workers: Processes that simulate the recordings.

    Returns:
        Name -> checkpoint.

    Raises:
        ConfigError: The run has not come so far.
    """
    found = {name: space.folder / name / 'policy.safetensors' for name in recipes}
    for name, recipe in recipes.items():
        own = Workspace(found[name].parent, found[name].parent, space.device, space.progress,
                        space.told)  # fmt: skip
        job = Run(recipe, own, workers)
        with job.exits:
            if not found[name].is_file():
                # As the recipe, which distils on demonstrations only.
                job.data = data_of(folder, 0)
            job.distilled(dense_of(folder))
    return found
