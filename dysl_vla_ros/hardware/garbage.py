"""What a start made stands outside the collection of garbage in cycles.

Python counts a full collection as due when a quarter as many objects are new as are old. After the
imports of a node some 200,000 are old: cycles of waste then lie about for tens of minutes, and the
collection that finds them walks everything with the interpreter lock held, which a command
thread's period feels. Set aside, the old ones are neither counted nor walked.
"""

from __future__ import annotations

import gc


def set_aside() -> int:
    """Collect everything that is waste now, and never look at the rest again.

    Called again it begins anew, so that what was dropped since the last time is found.

    Returns:
        How many objects stand aside.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()
