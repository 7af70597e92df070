"""What to evaluate, validated before a worker starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.episodes import EpisodeSpec
from dysl_vla_ros.lab.evaluation.link_weather import Weather
from dysl_vla_ros.lab.evaluation.modes import MODES, NOISY, SERVED, STREAMED, Mode, Row, rows_of
from dysl_vla_ros.lab.evaluation.paces import Paces
from dysl_vla_ros.lab.evaluation.videos import Videos
from dysl_vla_ros.sim.goals import FAMILIES, Family, Split

Probe = Literal['none', 'shuffled_instruction', 'blank_image']
PROBES: tuple[Probe, ...] = get_args(Probe)


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate.

    Attributes:
        bundle: Folder of the bundle; empty for the bundled model.
        modes: The first one is the reference of the paired comparison.
        exit_layers: Of mode ``fixed``, a row for each; none takes the parameters' or the bundle's.
        tolerances: Of mode ``oracle``, a row for each.
        deer_ratios: Of mode ``deer``, a row for each.
        links: Of the modes ``remote`` and ``verified``, a row for each: ``Weather.read``.
        paces: Of the mode ``paced``, a row for each: ``Paces.read``.
        noises: Of the modes ``noise_critical`` and ``noise_free``, a row for each.
        episodes: Per family.
        first_seed: Seeds count up from here.
        families: Task families.
        split: Scenes and phrasings.
        latency: Seconds per pass in simulated time; None takes what each pass measures.
        time_limit: Simulated seconds per episode.
        workers: Processes.
        random_depth: Mean share of dynamic layers that ``random`` runs; None takes what ``auto``
            ran in the same evaluation.
        probe: Whether the policy reads and sees: another instruction, or no image.
        videos: What is filmed; None is nothing.
        config: Parameters of the control loop.
    """

    bundle: str = ''
    modes: tuple[Mode, ...] = ('full', 'auto')
    exit_layers: tuple[int, ...] = ()
    tolerances: tuple[float, ...] = ()
    deer_ratios: tuple[float, ...] = ()
    links: tuple[str, ...] = ()
    noises: tuple[float, ...] = ()
    paces: tuple[str, ...] = ()
    episodes: int = 25
    first_seed: int = 1_000_000
    families: tuple[Family, ...] = FAMILIES
    split: Split = 'train'
    latency: float | None = None
    time_limit: float = 30.0
    workers: int = 1
    random_depth: float | None = None
    probe: Probe = 'none'
    videos: Videos | None = None
    config: NodeConfig = NodeConfig()

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        for mode in self.modes:
            if mode not in MODES:
                raise ConfigError('modes', mode, 'one of ' + ', '.join(MODES))
        for family in self.families:
            if family not in FAMILIES:
                raise ConfigError('families', family, 'one of ' + ', '.join(FAMILIES))
        if self.probe not in PROBES:
            raise ConfigError('probe', self.probe, 'one of ' + ', '.join(PROBES))
        if self.episodes < 1:
            raise ConfigError('episodes', self.episodes, 'at least 1')
        if not 0 < self.time_limit <= 3600:
            raise ConfigError('time_limit', self.time_limit, 'more than 0, at most 3600 seconds')
        if self.workers < 1:
            raise ConfigError('workers', self.workers, 'at least 1')
        if ('oracle' in self.modes) != bool(self.tolerances):
            raise ConfigError('tolerance', list(self.tolerances), 'one or more numbers with the '
                              'mode oracle, none without it')  # fmt: skip
        for tolerance in self.tolerances:
            if not 0 <= tolerance <= 10:
                raise ConfigError('tolerance', tolerance, 'within [0, 10]')
        if self.tolerances and self.latency is None:
            raise ConfigError('latency', 'measured', 'a number of seconds with the mode oracle, '
                              'whose passes take longer than what they stand for')  # fmt: skip
        if ('deer' in self.modes) != bool(self.deer_ratios):
            raise ConfigError('deer_ratio', list(self.deer_ratios), 'one or more numbers with the '
                              'mode deer, none without it')  # fmt: skip
        for ratio in self.deer_ratios:
            if not 0.01 <= ratio <= 100:
                raise ConfigError('deer_ratio', ratio, 'within [0.01, 100]')
        served = [mode for mode in self.modes if mode in SERVED]
        if bool(served) != bool(self.links):
            raise ConfigError('links', list(self.links), 'one or more with the modes '
                              f'{" and ".join(SERVED)}, none without them')  # fmt: skip
        for link in self.links:
            Weather.read(link)
        if served and self.latency is None:
            raise ConfigError('latency', 'measured', 'a number of seconds with the modes '
                              f'{" and ".join(SERVED)}, to which a link adds its own')  # fmt: skip
        noisy = [mode for mode in self.modes if mode in NOISY]
        if bool(noisy) != bool(self.noises):
            raise ConfigError('noise', list(self.noises), 'one or more numbers with the modes '
                              f'{" and ".join(NOISY)}, none without them')  # fmt: skip
        for noise in self.noises:
            if not 0 < noise <= 10:
                raise ConfigError('noise', noise, 'more than 0, at most 10')
        if noisy and self.bundle == 'fake':
            raise ConfigError('engine', 'fake', 'a bundle with the modes ' + ' and '.join(NOISY))
        if ('paced' in self.modes) != bool(self.paces):
            raise ConfigError('pace', list(self.paces), 'one or more with the mode paced, none '
                              'without it')  # fmt: skip
        for pace in self.paces:
            Paces.read(pace)
        streamed = [mode for mode in self.modes if mode in STREAMED]
        if streamed and self.latency is None:
            raise ConfigError('latency', 'measured', 'a number of seconds with the modes '
                              f'{" and ".join(STREAMED)}')  # fmt: skip
        if streamed and self.probe == 'blank_image':
            raise ConfigError('probe', self.probe, f'none with the modes {" and ".join(streamed)}')
        unfilmed = [mode for mode in self.modes if mode in ('broker', *STREAMED)]
        if self.videos is not None and unfilmed:
            raise ConfigError('modes', ' '.join(unfilmed), 'none of these with --videos: it plays '
                              'without the control loop, whose passes a film shows')  # fmt: skip
        if self.exit_layers and 'fixed' not in self.modes:
            raise ConfigError('exit_layer', list(self.exit_layers), 'none without the mode fixed')
        if self.random_depth is None:
            if 'random' in self.modes and 'auto' not in self.modes:
                raise ConfigError('random_depth', None, 'a share, or the mode auto beside random')
        elif not 0 <= self.random_depth <= 1:
            raise ConfigError('random_depth', self.random_depth, 'within [0, 1]')

    def rows(self) -> tuple[Row, ...]:
        """The rows of the table, in the order of the modes."""
        found = rows_of(
            self.modes, self.exit_layers, self.deer_ratios, self.tolerances, self.random_depth,
            dict.fromkeys(SERVED, self.links), self.noises, self.paces,
        )  # fmt: skip
        return tuple(dict.fromkeys(found))

    def specs(self) -> tuple[EpisodeSpec, ...]:
        """The episodes, the same for every mode; families take turns, as in the demo."""
        seeds = range(self.first_seed, self.first_seed + self.episodes * len(self.families))
        return tuple(
            EpisodeSpec(seed, self.families[seed % len(self.families)], self.split,
                        time_limit=self.time_limit)
            for seed in seeds
        )  # fmt: skip
