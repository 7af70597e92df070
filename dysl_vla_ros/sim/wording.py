"""The sentences in which a goal can be asked."""

from __future__ import annotations

from dysl_vla_ros.sim.camera import COLOURS
from dysl_vla_ros.sim.goals import Goal, Relation, Thing
from dysl_vla_ros.sim.scene import SHAPES

# {a} is the object to move, {b} the one it goes to. The held-out phrasings combine words that
# the others use: a policy with a vocabulary of its own could not know any other.
_PHRASINGS: dict[Relation, tuple[str, ...]] = {
    'up': (
        'pick up the {a}',
        'lift the {a}',
        'grab the {a} and lift it up',
        'take the {a} off the table',
        'pick the {a} up',
        'lift the {a} off the table',
        'take the {a} and lift it',
        'grab the {a} and take it off the table',
    ),
    'inside': (
        'put the {a} into the bin',
        'drop the {a} in the bin',
        'move the {a} into the bin',
        'place the {a} inside the bin',
        'take the {a} over to the bin',
        'pick up the {a} and drop it into the bin',
        'grab the {a} and place it inside the bin',
        'put the {a} down in the bin',
        'set the {a} into the bin',
        'take the {a} and move it into the bin',
    ),
    'onto': (
        'put the {a} onto the {b}',
        'place the {a} on top of the {b}',
        'stack the {a} on the {b}',
        'set the {a} down on top of the {b}',
        'take the {a} and put it on the {b}',
        'move the {a} on top of the {b}',
        'drop the {a} onto the {b}',
        'pick up the {a} and stack it on the {b}',
        'grab the {a} and place it onto the {b}',
        'set the {a} on the {b}',
    ),
    'beside': (
        'put the {a} next to the {b}',
        'place the {a} beside the {b}',
        'move the {a} next to the {b}',
        'set the {a} down beside the {b}',
        'take the {a} and put it beside the {b}',
        'move the {a} over beside the {b}',
        'drop the {a} next to the {b}',
        'grab the {a} and set it beside the {b}',
        'place the {a} down next to the {b}',
        'take the {a} and set it next to the {b}',
    ),
    'left': (
        'push the {a} to the left',
        'slide the {a} left',
        'move the {a} over to the left line',
        'push the {a} left to the line',
        'move the {a} left',
        'slide the {a} to the left line',
        'push the {a} over to the left',
        'move the {a} left over the line',
    ),
    'right': (
        'push the {a} to the right',
        'slide the {a} right',
        'move the {a} over to the right line',
        'push the {a} right to the line',
        'move the {a} right',
        'slide the {a} to the right line',
        'push the {a} over to the right',
        'move the {a} right over the line',
    ),
}
_HELD_OUT_PHRASINGS: dict[Relation, tuple[str, ...]] = {
    'up': ('grab the {a}', 'pick the {a} up off the table'),
    'inside': ('set the {a} down inside the bin', 'take the {a} and put it in the bin'),
    'onto': ('move the {a} onto the {b}', 'take the {a} and stack it onto the {b}'),
    'beside': ('take the {a} and place it next to the {b}', 'put the {a} down beside the {b}'),
    'left': ('move the {a} to the left', 'slide the {a} over to the left line'),
    'right': ('move the {a} to the right', 'slide the {a} over to the right line'),
}


def phrasings(relation: Relation, held_out: bool = False) -> tuple[str, ...]:
    """Templates of a relation, with ``{a}`` for the target and ``{b}`` for the reference."""
    return (_HELD_OUT_PHRASINGS if held_out else _PHRASINGS)[relation]


def instruction(things: tuple[Thing, ...], goal: Goal, template: str) -> str:
    """Fill a template in."""
    reference = '' if goal.reference is None else things[goal.reference].name
    return template.format(a=things[goal.target].name, b=reference)


def all_words() -> tuple[str, ...]:
    """Every word that any instruction of any split can contain, sorted."""
    texts = [t for group in (_PHRASINGS, _HELD_OUT_PHRASINGS) for ts in group.values() for t in ts]
    words = {word for text in texts for word in text.split() if '{' not in word}
    return tuple(sorted(words | set(COLOURS) | set(SHAPES)))
