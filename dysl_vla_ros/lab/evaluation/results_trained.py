"""The results page's table of what was trained: numbers, updates and hours of each policy.

Its files are the ``report.json`` of runs of ``dysl recipe`` and ``dysl anchors``, as these wrote
them, under names that begin with ``trained_`` and go on as that of the policy's episodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dysl_vla_ros.lab.evaluation.results_cells import Found

PREFIX = 'trained_'
"""Before the name of a policy's episodes: the report of its training."""
_IS = '_is'
"""Behind the name of an anchor: what ``dysl anchors`` notes of its shape."""
_INTRO = (
    'Updates of each part in turn: warm-up of vision and words, the training, one for each round '
    'of corrections; what skipping adds, controllers and adapters, is trained on top of the dense '
    'policy, which stays as it is. A fine-tuned exit or a shallower policy is trained whole. '
    'Numbers that training alone needs, of its side tasks, are counted.'
)


def trained_parts(evidence: Mapping[str, Found]) -> list[str]:
    """The section; nothing where no run was kept."""
    rows = [row for name, found in evidence.items() if name.startswith(PREFIX)
            for row in _rows(name.removeprefix(PREFIX), found)]  # fmt: skip
    if not rows:
        return []
    lines = ['| policy | | trained parameters | updates | hours |', '| --- ' * 5 + '|']
    lines += ['| ' + ' | '.join(row) + ' |' for row in rows]
    return ['### What was trained', _INTRO, '\n'.join(lines)]


def _rows(name: str, report: Found) -> Iterator[tuple[str, ...]]:
    sizes = {stage.removesuffix(_IS): found['trained_parameters']
             for stage, found in report.items() if stage.endswith(_IS)}  # fmt: skip
    whole = next((anchor for anchor in sizes if anchor not in report), 'dense')
    if 'train' in report:
        sizes[whole] = sizes.get(whole, report.get('policy', {}).get('parameters'))
        yield _row(name, whole, sizes[whole], report, _stages(report))
    if 'distill' in report:
        size = report['distill']['trained_parameters']
        yield _row(name, 'skipping', size, report, ['distill'])
    for anchor in sizes:
        if anchor in report:
            yield _row(name, anchor, sizes[anchor], report, [anchor])


def _row(
    policy: str, what: str, size: int | None, report: Found, stages: list[str]
) -> tuple[str, ...]:
    seconds = [report[stage].get('seconds') for stage in stages]
    return (
        f'`{policy}`', what.replace('_', ' '), '' if size is None else f'{size / 1e6:.2f} M',
        ' + '.join(f'{updates(report, stage):,}' for stage in stages),
        '' if None in seconds else f'{sum(seconds) / 3600:.2f}',
    )  # fmt: skip


def _stages(report: Found) -> list[str]:
    rounds = sorted(stage for stage in report if stage.startswith('train_'))
    return [stage for stage in ('ground', 'train', *rounds) if stage in report]


def updates(report: Found, stage: str) -> int:
    """Of one stage, as noted; runs that noted none of a stage did what their recipe says."""
    noted = report[stage].get('steps')
    if noted is not None:
        return int(noted)
    asked = report['recipe'][stage]
    return int(asked['steps'] if 'steps' in asked
               else asked['adapter_steps'] + asked['controller_steps'])  # fmt: skip
