"""What a dynamic policy has to beat: fixed exits that were fine-tuned, and shallow dense models.

    fixed exit d      layers 0 to d - 1 and the last of the dense policy, nothing else left,
                      fine-tuned by as many updates of the same batch as the distillation makes
    n layers          a dense policy of n layers, trained from nothing by the recipe: the same
                      demonstrations, corrections, updates and batches as the deep one

And what a policy that chooses between exits needs, by as many updates again:

    exits d, e, ...   the whole policy, fine-tuned at these exits and at its full depth together
    by instruction    the layers up to the deepest exit that a calibration names and the last one,
                      each sample fine-tuned at the exit of its own instruction alone

All start from what a run of the recipe left in its folder. A file that is there is not made
again, and what was interrupted goes on; of another run or other numbers it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import MadeOf, Stages
from dysl_vla_ros.lab.data.demonstrations import Demonstrations, join
from dysl_vla_ros.lab.data.libero import is_libero, load_run
from dysl_vla_ros.lab.data.samples import load_samples
from dysl_vla_ros.lab.folders import START
from dysl_vla_ros.lab.learn.dense import DenseSettings, fit, forget_states, train_dense
from dysl_vla_ros.lab.learn.distill import DistillSettings
from dysl_vla_ros.lab.learn.made_of import checkpoint_of, shaping
from dysl_vla_ros.lab.learn.train import TrainSettings
from dysl_vla_ros.lab.model.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    with_card,
)
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.run_numbers import recipe_told
from dysl_vla_ros.lab.workspace import Workspace

BY_INSTRUCTION: Final = 'by_instruction'
RATE = 2e-4
"""Of the fine-tuning: all weights move, from where they already act."""
_OF_A_ROUND = ('steps', 'batch', 'learning_rate', 'warmup', 'seed')


@dataclass(frozen=True)
class AnchorSettings:
    """The numbers of the run that they are compared with.

    Attributes:
        dense: How its dense policy was trained.
        rounds: How it was trained further on corrections, round by round.
        distill: Whose updates and batch the fine-tuning takes.
        seed: Of weights and order.
    """

    dense: DenseSettings
    rounds: tuple[TrainSettings, ...]
    distill: DistillSettings
    seed: int = 0


def as_the_run_had(folder: Path, settings: AnchorSettings) -> AnchorSettings:
    """With the updates and batches that the run's report names: a run may be told other ones.

    Args:
        folder: Of the run.
        settings: Of the preset; of its rounds the run's begin with what the report does not name.
    """
    told = recipe_told(folder)

    def same(plan: TrainSettings | None, name: str) -> Any:
        found = told.get(name)
        if plan is None or not found:
            return plan
        return replace(plan, steps=found['steps'], batch=found['batch'])

    dense, distill = settings.dense, told.get('distill', {})
    kept = {name: distill[name] for name in ('adapter_steps', 'controller_steps', 'batch')
            if name in distill}  # fmt: skip
    rounds, like = settings.rounds, settings.rounds or (dense.train,)
    if 'rounds' in told:
        rounds = tuple(
            replace(like[n % len(like)], **{name: one['train'][name] for name in _OF_A_ROUND})
            for n, one in enumerate(told['rounds'])
        )
    return replace(
        settings, rounds=rounds, distill=replace(settings.distill, **kept),
        dense=replace(dense, ground=same(dense.ground, 'ground'),
                      train=same(dense.train, 'train')),
    )  # fmt: skip


def dense_of(folder: Path) -> Checkpoint:
    """The dense policy of a run, after its last round of corrections.

    Raises:
        ConfigError: The run has not come so far.
    """
    files = [folder / 'dense.safetensors', folder / START,
             *sorted(folder.glob('dagger_*.safetensors'))]  # fmt: skip
    found = [path for path in files if path.is_file()]
    if not found:
        raise ConfigError('folder', str(folder), 'the folder of a run with a dense policy: dysl '
                          'recipe --until dagger, or --until dense')  # fmt: skip
    return replace(load_checkpoint(found[-1]), skipping=None, calibration=None)


def data_of(folder: Path, corrections: int) -> Demonstrations:
    """Demonstrations of a run, with the corrections of its first rounds before them.

    Args:
        folder: Of the run.
        corrections: Rounds.
    """
    demonstrations = folder / 'demonstrations'
    if is_libero(demonstrations):
        return load_run(folder)  # its corrections are demonstrations that begin elsewhere
    rounds = [folder / 'corrections' / f'round_{n}' for n in range(1, corrections + 1)]
    own = load_samples([demonstrations])
    return join([load_samples(rounds), own]) if rounds else own


class RunData:
    """``data_of`` a run: pictures of gigabytes, read once for all that is trained on them."""

    def __init__(self, folder: Path) -> None:
        """Read nothing yet."""
        self._folder, self._corrections = folder, -1
        self._data: Demonstrations | None = None

    def get(self, corrections: int) -> Demonstrations:
        """With so many rounds of corrections; what was read otherwise is forgotten before."""
        if self._data is None or corrections != self._corrections:
            self._data = None
            self._data, self._corrections = data_of(self._folder, corrections), corrections
        return self._data


def shortened(checkpoint: Checkpoint, exit_layer: int) -> Checkpoint:
    """Layers 0 to ``exit_layer`` - 1 and the last one, as a dense policy of their own.

    Its actions are those of the fixed exit, to rounding; no skipping parts are left.

    Raises:
        ConfigError: There is no such exit.
    """
    layers = checkpoint.config.layers
    if not 2 <= exit_layer <= layers - 2:
        raise ConfigError('exit_layer', exit_layer, f'2 to {layers - 2}: this policy has {layers} '
                          'layers')  # fmt: skip
    auxiliary = min(checkpoint.config.auxiliary_layer, exit_layer)
    config = replace(checkpoint.config, layers=exit_layer + 1, auxiliary_layer=auxiliary)
    network, last = PolicyNetwork(config), f'layers.{layers - 1}.'
    state = {}
    for name, tensor in checkpoint.network.state_dict().items():
        if name.startswith(last):
            state[name.replace(last, f'layers.{exit_layer}.')] = tensor
        elif not name.startswith('layers.') or int(name.split('.')[1]) < exit_layer:
            state[name] = tensor
    network.load_state_dict(state)
    return replace(checkpoint, config=config, network=network, skipping=None, calibration=None)


def make_anchors(
    folder: Path, exits: Sequence[int], depths: Sequence[int], settings: AnchorSettings,
    space: Workspace, together: Sequence[int] = (), told: CalibrationSpec | None = None,
) -> dict[str, Path]:  # fmt: skip
    """Train what is missing; each becomes a checkpoint in the workspace.

    Args:
        folder: Of the run whose dense policy and data are taken.
        exits: Fixed exits to fine-tune.
        depths: Depths of dense policies to train from nothing.
        settings: Numbers of that run.
        space: Gets ``fixed_D.safetensors``, ``layers_N.safetensors``,
            ``exits_D_E.safetensors`` and ``by_instruction.safetensors``.
        together: Exits to fine-tune in one policy, two or more.
        told: Names an exit for each instruction, to fine-tune each at its own; None: not asked.

    Returns:
        Name -> checkpoint.

    Raises:
        ConfigError: The run has not come so far, there is no such exit or depth, or a file that
            is there was made of something else.
    """
    dense = dense_of(folder)
    starts = {exit_layer: shortened(dense, exit_layer) for exit_layer in exits}
    for depth in depths:
        check_depth(depth, dense)
    names = [*(f'fixed_{d}' for d in exits), *(f'layers_{n}' for n in depths)]
    if together:
        names.append(joint_name(together, dense.config.layers))
    if told is not None:
        told_start, told = with_own_exits(dense, told)
        names.append(BY_INSTRUCTION)
    found = {name: space.folder / f'{name}.safetensors' for name in names}
    data, stages = RunData(folder), Stages(space.folder, space.say, space.main)
    tuned = shaping(_plan(settings, (), ()))
    for exit_layer, start in starts.items():
        make = partial(_tuned, data, start, exit_layer, settings, space)
        made_of: dict[str, Any] = {'start': checkpoint_of(start), 'train': tuned}
        made_once(stages, found[f'fixed_{exit_layer}'], made_of, make)
    for depth in depths:
        made_of = {'run': checkpoint_of(dense), 'depth': depth, **_of_a_shallow(settings)}
        make = partial(_shallow, data, dense, depth, settings, space)
        made_once(stages, found[f'layers_{depth}'], made_of, make)
    if together:
        policy = policy_of(folder)
        made_of = {'start': checkpoint_of(policy), 'train': tuned}
        make = partial(_joint, data, policy, together, settings, space)
        made_once(stages, found[joint_name(together, dense.config.layers)], made_of, make)
    if told is not None:
        make = partial(_by_instruction, data, told_start, told, settings, space)
        made_of = {'start': checkpoint_of(told_start), 'train': tuned,
                   'exits': dict(told.exit_by_instruction)}  # fmt: skip
        made_once(stages, found[BY_INSTRUCTION], made_of, make)
    return found


def with_own_exits(dense: Checkpoint, told: CalibrationSpec) -> tuple[Checkpoint, CalibrationSpec]:
    """The policy that needs no more layers than the deepest of these exits, and its calibration.

    Args:
        dense: The policy that they are exits of.
        told: Names an exit for each instruction, 0 = dense.

    Returns:
        The layers up to the deepest exit and the last one, uncut where an instruction is dense;
        the calibration, in which what needs all that is left has 0.

    Raises:
        ConfigError: All instructions leave at the same exit, or there is no such exit.
    """
    table = told.exit_by_instruction
    if len(set(table.values())) < 2:
        raise ConfigError(BY_INSTRUCTION, dict(table), 'two exits at least: a single one is '
                          '--exit-layer')  # fmt: skip
    deepest = 0 if 0 in table.values() else max(table.values())
    start = shortened(dense, deepest) if deepest else dense
    own = {words: 0 if layer == deepest else layer for words, layer in table.items()}
    return start, replace(told, mode=BY_INSTRUCTION, exit_layer=0, exit_by_instruction=own)


def joint_name(exits: Sequence[int], layers: int) -> str:
    """What a policy fine-tuned at these exits is called.

    Raises:
        ConfigError: They are not two or more exits of so many layers.
    """
    chosen = sorted(set(exits))
    if len(chosen) < 2 or chosen[0] < 2 or chosen[-1] > layers - 2:
        raise ConfigError('together', list(exits), f'two or more exits of 2 to {layers - 2}: this '
                          f'policy has {layers} layers')  # fmt: skip
    return '_'.join(('exits', *map(str, chosen)))


def policy_of(folder: Path) -> Checkpoint:
    """The distilled policy of a run; ``guided`` adds the guidance of its bundle.

    Raises:
        ConfigError: The run has not come so far.
    """
    path = folder / 'policy.safetensors'
    if not path.is_file():
        raise ConfigError('folder', str(folder), 'the folder of a run with a distilled policy: '
                          'dysl recipe --until policy')  # fmt: skip
    return load_checkpoint(path)


def guided(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """With the guidance of the run's bundle: its continuity is that of the policy before."""
    if checkpoint.calibration is not None:
        return checkpoint
    return replace(checkpoint, calibration=open_bundle(folder / 'bundle').manifest.calibration)


def made_once(stages: Stages, path: Path, made_of: MadeOf, make: Callable[[], Checkpoint]) -> None:
    """Make a checkpoint that is not there; one that is there must be of the same."""
    if not stages.there(path, made_of):
        checkpoint = make()
        stages.note(path, made_of)
        save_checkpoint(path, checkpoint)


def _of_a_shallow(settings: AnchorSettings) -> dict[str, Any]:
    """The numbers that shape a dense policy of fewer layers."""
    dense = settings.dense
    return {
        'ground': None if dense.ground is None else shaping(dense.ground),
        'train': shaping(dense.train), 'network': dense.network, 'own_share': dense.own_share,
        'rounds': [shaping(plan) for plan in settings.rounds], 'seed': settings.seed,
    }  # fmt: skip


def _tuned(
    run: RunData, start: Checkpoint, exit_layer: int, settings: AnchorSettings, space: Workspace
) -> Checkpoint:
    """As many updates as the distillation makes, on the same data."""
    return _finely(f'fixed_{exit_layer}', run, start, (), settings, space)


def _joint(
    run: RunData, policy: Checkpoint, exits: Sequence[int], settings: AnchorSettings,
    space: Workspace,
) -> Checkpoint:  # fmt: skip
    """Its controllers stay those of the policy before: what leaves at an exit asks none."""
    name = joint_name(exits, policy.config.layers)
    return _finely(name, run, policy, tuple(sorted(set(exits))), settings, space)


def _by_instruction(
    run: RunData, start: Checkpoint, told: CalibrationSpec, settings: AnchorSettings,
    space: Workspace,
) -> Checkpoint:  # fmt: skip
    """Nothing is trained deeper than its own instruction leaves."""
    exits, known = told.exit_by_instruction, run.get(0).instructions
    if set(known) != set(exits):
        raise ConfigError(BY_INSTRUCTION, sorted(exits), f'the instructions of the run: {known}')
    table = tuple(exits[words] for words in known)
    made = _finely(BY_INSTRUCTION, run, start, (), settings, space, table)
    return replace(made, calibration=told)


def _finely(
    name: str, run: RunData, start: Checkpoint, exits: tuple[int, ...], settings: AnchorSettings,
    space: Workspace, exit_of_goal: tuple[int, ...] = (),
) -> Checkpoint:  # fmt: skip
    plan = _plan(settings, exits, exit_of_goal)
    data = run.get(0)  # as the distillation, which sees demonstrations only
    result = fit(name, start, data, plan, space, settings.dense.own_share)
    forget_states(space, name)
    return with_figures(replace(start, network=result.network), space, name)


def _plan(
    settings: AnchorSettings, exits: tuple[int, ...], exit_of_goal: tuple[int, ...]
) -> TrainSettings:
    """As many updates of the same batch as the distillation makes."""
    distill = settings.distill
    plan = replace(
        settings.rounds[-1] if settings.rounds else settings.dense.train,
        steps=distill.adapter_steps + distill.controller_steps, batch=distill.batch,
        learning_rate=RATE, ema=0.99, exits=0, exit_layers=(0, 0), every_exit=exits,
        exit_of_goal=exit_of_goal, seed=settings.seed,
    )  # fmt: skip
    return replace(plan, warmup=min(plan.warmup, plan.steps // 10))


def check_depth(depth: int, dense: Checkpoint) -> None:
    """Refuse a depth that no shallow policy beside this one can have.

    Raises:
        ConfigError: Names it, and which can be.
    """
    if not 3 <= depth <= dense.config.layers:
        raise ConfigError('layers', depth, f'3 to {dense.config.layers}')


def of_depth(network: Mapping[str, Any], depth: int, auxiliary_layer: int) -> dict[str, Any]:
    """Changes to the network's default shape, for so many layers."""
    return {**network, 'layers': depth, 'auxiliary_layer': min(auxiliary_layer, depth - 1)}


def without_exits(plan: TrainSettings) -> TrainSettings:
    """A shallow policy leaves at none of its layers early."""
    return replace(plan, exits=0, exit_layers=(0, 0))


def _shallow(
    run: RunData, dense: Checkpoint, depth: int, settings: AnchorSettings, space: Workspace
) -> Checkpoint:
    """The whole recipe of the dense policy, for one of ``depth`` layers."""
    name = f'layers_{depth}'
    # Its warm-up and its states must not be taken for another depth's.
    own = Workspace(space.folder / name, space.folder / name, space.device, space.progress,
                    space.told)  # fmt: skip
    config = dense.config
    shape = of_depth(settings.dense.network, depth, config.auxiliary_layer)
    training = replace(
        settings.dense,
        network=shape,
        seed=settings.seed,
        train=without_exits(settings.dense.train),
    )
    first = own.folder / 'first.safetensors'
    stages = Stages(own.folder, own.say, own.main)
    numbers = _of_a_shallow(settings)
    rounds = numbers.pop('rounds')
    made_once(
        stages, first, {**numbers, 'depth': depth}, lambda: train_dense(run.get(0), training, own)
    )
    checkpoint = load_checkpoint(first)
    for number, plan in enumerate(settings.rounds, start=1):
        path = own.folder / f'round_{number}.safetensors'
        again = without_exits(plan)
        made_of = {'start': checkpoint_of(checkpoint), 'train': rounds[number - 1]}
        make = partial(_further, run, checkpoint, number, again, own, settings)
        made_once(stages, path, made_of, make)
        checkpoint = load_checkpoint(path)
    return with_figures(checkpoint, own, name)


def _further(
    run: RunData, checkpoint: Checkpoint, number: int, plan: TrainSettings, space: Workspace,
    settings: AnchorSettings,
) -> Checkpoint:  # fmt: skip
    name = f'train_{number}'
    result = fit(name, checkpoint, run.get(number), plan, space, settings.dense.own_share)
    forget_states(space, name)
    return replace(checkpoint, network=result.network)


def with_figures(checkpoint: Checkpoint, space: Workspace, name: str) -> Checkpoint:
    """With its size noted, and what was found on its way on its card."""
    trained = sum(p.numel() for p in checkpoint.network.parameters())
    space.note(f'{name}_is', layers=checkpoint.config.layers, trained_parameters=trained)
    figures = {key: value for key, value in space.report.items() if key != 'recipe'}
    return with_card(checkpoint, anchor=name, recipe=figures)
