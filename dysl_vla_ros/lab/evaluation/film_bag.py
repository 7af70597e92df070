"""A recording as a film: what a camera saw, which layers ran, how smooth the motion was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.bag_messages import IMAGES
from dysl_vla_ros.lab.data.bags.bag import Bag, open_bag
from dysl_vla_ros.lab.data.own_topics import is_report
from dysl_vla_ros.lab.data.refused_pictures import RefusedPictures
from dysl_vla_ros.lab.evaluation.film import Film, Frame, joined_masks
from dysl_vla_ros.lab.evaluation.film_pictures import fitted
from dysl_vla_ros.lab.replay.steps import PassSteps, passes_in
from dysl_vla_ros.pictures.messages import check_message, rgb_of

_STATUS = 'diagnostic_msgs/msg/DiagnosticStatus'
_INFO = '/chunk_info'
MOST = 2_000
"""Passes of one film, some minutes; what is longer is shown from its beginning."""


def film_of(path: Path, camera: str = '') -> Film:
    """The passes of a recording with the pictures that belong to them.

    Args:
        path: Of a bag: of ``record:=true``, or of any with ``~/chunk_info`` and a camera.
        camera: Topic of the pictures, or, with recorded passes, name of the camera; '' takes the
            first.

    Raises:
        ConfigError: It holds no passes, or no pictures.
        InputError: None of its pictures can be used.
    """
    with open_bag(path) as bag:
        frames = list(_recorded(bag, camera) if passes_in(bag) else _watched(bag, camera))
        if not frames:
            raise ConfigError('bag', str(path), f'passes with pictures: it has {bag.listed()}')
    texts = list(dict.fromkeys(text for text, _ in frames if text))
    shown = [frame for _, frame in frames]
    # A film is of one number of layers; another bundle begins another film.
    layers = len(shown[0].mask)
    shown = [frame for frame in shown if len(frame.mask) == layers]
    return Film(
        '; '.join(texts[:3]) + ('; ...' if len(texts) > 3 else ''), None, shown[-1].time,
        tuple(shown), shown[-1].image,
    )  # fmt: skip


def _recorded(bag: Bag, camera: str) -> Iterator[tuple[str, Frame]]:
    """Of ``~/pass``: the very pictures that the model saw."""
    for count, step in enumerate(PassSteps(bag)):
        if count == MOST:
            return
        images = step.observation.seen
        if camera and camera not in images:
            raise ConfigError('--camera', camera, f'one of {", ".join(images)}')
        name = camera or next(iter(images))
        assert step.record is not None
        assert step.final is not None
        if not step.final.judged.accepted:
            continue  # nothing of it was executed
        masks = [step.record.result.trace.layer_mask]
        if step.again is not None:
            masks.append(step.again.result.trace.layer_mask)
        mode = step.final.result.mode
        known = [value for value in step.final.judged.continuity if value is not None]
        yield step.observation.instruction, Frame(
            step.seconds, fitted(images[name]), joined_masks(masks), mode,
            known[0] if known else None, '',
        )  # fmt: skip


def _watched(bag: Bag, camera: str) -> Iterator[tuple[str, Frame]]:
    """Of ``~/chunk_info``: each pass with the newest picture before it."""
    infos = bag.find(_STATUS, ending=_INFO)
    pictures = [name for name in bag.find(*IMAGES) if not is_report(name)]
    if not infos or not pictures or (camera and camera not in pictures):
        raise ConfigError(
            '--camera' if camera else 'bag', camera or str(bag.path),
            f'recorded passes, or {_INFO} of the node and a camera; it has {bag.listed()}',
        )  # fmt: skip
    topic, masks, refused = camera or pictures[0], list[str](), RefusedPictures()
    image: Any = None
    begin: int | None = None
    count = 0
    for message in bag.messages([infos[0], topic]):
        if message.topic == topic:
            taken = message.message
            if refused.checked(topic, partial(check_message, topic, taken)):
                image = taken
            continue
        values = {str(item.key): str(item.value) for item in message.message.values}
        if image is None or not values.get('layer_mask'):
            continue
        masks.append(values['layer_mask'])
        if values.get('outcome') == 're-run':
            continue  # its full pass follows
        begin = message.stamp if begin is None else begin
        whole = joined_masks([mask for mask in masks if len(mask) == len(masks[-1])])
        masks.clear()
        shown = None
        if values.get('outcome') == 'accepted':
            shown = refused.read(topic, partial(rgb_of, topic, image))
        if shown is None:
            continue
        count += 1
        yield values.get('instruction', ''), Frame(
            1e-9 * (message.stamp - begin), fitted(shown), whole,
            values.get('mode', ''), _first(values), '',
        )  # fmt: skip
        if count == MOST:
            return
    refused.settle()


def _first(values: Mapping[str, str]) -> float | None:
    for word in values.get('continuity', '').split():
        if word != 'n/a':
            return float(word)
    return None
