"""What ``dysl bench`` found, for people: the figures and the few lines of physics behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_DEPTH_ROWS = 6
_HARDWARE = {
    'power_mode': 'power mode', 'gpu_clock_mhz': 'GPU clock [MHz]',
    'gpu_clock_max_mhz': 'its limit [MHz]', 'emc_clock_mhz': 'memory clock [MHz]',
    'gpu_temp_c': 'GPU [°C]', 'tj_temp_c': 'hottest [°C]', 'gpu_power_w': 'GPU power [W]',
    'throttled': 'throttled', 'overcurrent_events': 'over-current events',
    'cpu_governor': 'CPU governor', 'cpu_clock_mhz': 'CPU clock [MHz]',
    'cpu_temp_c': 'CPU [°C]', 'load_1min': 'load (1 min)',
}  # fmt: skip


def card(document: Mapping[str, Any]) -> RenderableType:
    """The whole card.

    Args:
        document: The JSON document of ``dysl bench``.
    """
    parts: list[RenderableType] = [
        _pass(document), _roof(document), _depths(document), _controllers(document),
        _reruns(document),
        _modes(document), _hardware(document['hardware']),
    ]  # fmt: skip
    title = f'{document["bundle"]["name"]} on {document["device"]}'
    return Group(Text(title, style='bold'), *parts)


def _pass(document: Mapping[str, Any]) -> Text:
    stages, share = document['stages'], document['backbone_share']
    told = ' + '.join(f'{name} {stage["p50"]:.2f}' for name, stage in stages.items())
    total = sum(stage['p50'] for stage in stages.values())
    return Text(
        f'A full pass: {told} = {total:.2f} ms; in one go '
        f'{document["full_pass"]["p50"]:.2f} ms (p95 '
        f'{document["full_pass"]["p95"]:.2f}, p99 {document["full_pass"]["p99"]:.2f}).\n'
        f'The backbone is {100 * share:.0f} % of it. Skipping layers cannot touch the rest, so '
        f'a pass with the share d of the layers is at most 1 / (1 - {share:.2f} (1 - d)) times '
        'faster: the ceiling. "of ideal" is what the layers that are not run really save: 100 % '
        'when skipping itself costs nothing. Milliseconds below are of the backbone alone.\n'
        + _one_graph(document['one_graph'])
    )


def _one_graph(found: Mapping[str, Any]) -> str:
    if 'backbone' not in found:
        return f'The layers were not joined into one graph: {found["why_not"]}.'
    return (f'All layers joined into one graph take {found["backbone"]["p50"]:.2f} ms: the chain '
            f'that can skip takes {found["chain_of_one_graph"]:.3f} of that.')  # fmt: skip


def _roof(document: Mapping[str, Any]) -> RenderableType:
    found = document['roof']
    if 'stages' not in found:
        return Text(f'No floors: {found["why_not"]}')
    rates = found['rates']
    told = Text(
        f'This device, a moment ago: {rates["flops"] / 1e12:.4g} TFLOP/s in one product, '
        f'{rates["bandwidth"] / 1e9:.4g} GB/s in one copy ({rates["what"]}). A stage takes at '
        'least the longer of its products at that rate and its weights at that rate: the floor.'
    )
    table = _table('stage', 'floor ms', 'measured ms', 'share')
    for name, row in found['stages'].items():
        table.add_row(
            name, f'{row["floor_ms"]:.3f}', f'{row["measured_ms"]:.3f}',
            f'{100 * row["share"]:.0f} %',
        )  # fmt: skip
    return Group(told, table)


def _depths(document: Mapping[str, Any]) -> Table:
    rows = document['depths']
    table = _table('layers', 'ms', 'p95', 'p99', 'faster', 'of ideal', 'pass', 'ceiling')
    for index in _spread(len(rows), _DEPTH_ROWS):
        row = rows[index]
        ideal = row['gain_of_ideal']
        table.add_row(
            str(row['layers_run']),
            *_milliseconds(row['backbone']),
            f'{row["speed_up"]:.2f}x',
            '' if ideal is None else f'{100 * ideal:.0f} %',
            f'{row["end_to_end_speed_up"]:.2f}x',
            f'{row["end_to_end_ceiling"]:.2f}x',
        )
    return table


def _controllers(document: Mapping[str, Any]) -> Text:
    found, layer = document['controllers'], document['layer_ms']
    if found is None:
        return Text('No dynamic layers: nothing can be skipped.')
    one = found['one_in_a_pass_ms']
    cost = f'{one:.3f} ms in a pass ({100 * one / layer:.0f} % of a layer)'
    if one <= 0:
        cost = 'less than the noise in a pass'
    live = found['live']
    return Text(
        f'A layer takes {layer:.3f} ms; asking one controller costs {cost}, '
        f'{found["one_read_ms"]["p50"]:.3f} ms on an idle device.\n'
        f'All {found["count"]} asked and forced closed: '
        f'{found["all_closed"]["p50"]:.2f} ms, where asking none takes '
        f'{document["stages"]["backbone"]["p50"]:.2f} ms.\n'
        f'Live at {live["layers_run"]} layers, {live["asked"]} of them asked: '
        f'{live["backbone"]["p50"]:.2f} ms, where that depth without a question takes '
        f'{live["unasked_ms"]:.2f} ms.'
    )


def _reruns(document: Mapping[str, Any]) -> RenderableType:
    rows = document['reruns']
    if not rows:
        return Text('')
    table = _table('re-run from', 'layers left', 'resumed ms', 'of full', 'from scratch ms')
    for row in rows:
        table.add_row(
            str(row['resume_layer']),
            f'{100 * row["layers_share"]:.0f} %',
            f'{row["resumed"]["p50"]:.2f}',
            f'{100 * row["share_of_full"]:.0f} %',
            f'{row["from_scratch"]["p50"]:.2f}',
        )
    return table


def _modes(document: Mapping[str, Any]) -> RenderableType:
    table = _table('mode', 'pass ms', 'p95', 'p99', 'faster', 'layers', 'asked', 're-runs')
    for name, found in document['modes'].items():
        table.add_row(
            name,
            *_milliseconds(found['latency']),
            f'{found["speed_up"]:.2f}x',
            f'{found["layers_run_mean"]:.1f}',
            f'{found["controllers_asked_mean"]:.1f}',
            str(found['reruns']),
        )
    source = document['observations']
    told = f'Live controllers, on {source["count"]} observations ({source["source"]}); a re-run '
    told += 'counts into its pass; layers and controllers asked are means per pass.'
    if source['source'] == 'made up':
        told += '\nMade-up images: how deep a pass goes here says nothing about your scene.'
    if source.get('assumed_in_turn'):
        told += '\nNo stamp in the file: rows of the same words are taken to be passes in turn.'
    left_out = document.get('modes_left_out', {})
    if left_out:
        told += f'\nNot measured: {" and ".join(left_out)}. {next(iter(left_out.values()))}.'
    return Group(Text(told), table)


def _hardware(hardware: Mapping[str, Any]) -> RenderableType:
    before, after = hardware['before'], hardware['after']
    table = _table('machine', 'before', 'after')
    for key, words in _HARDWARE.items():
        if key in before or key in after:
            table.add_row(words, _short(before.get(key)), _short(after.get(key)))
    told = [Text(f'! {sentence}', style='yellow') for sentence in hardware['slowdowns']]
    return Group(table, *told)


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for title in titles:
        table.add_column(title, justify='right')
    return table


def _milliseconds(found: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(f'{found[name]:.2f}' for name in ('p50', 'p95', 'p99'))


def _spread(count: int, most: int) -> Sequence[int]:
    """First, last, and evenly between, at most ``most``."""
    if count <= most:
        return range(count)
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def _short(value: object) -> str:
    if value is None:
        return ''
    return f'{value:.1f}' if isinstance(value, float) else str(value)
