"""``python -m dysl_vla_ros.training``: the whole recipe.

Processes that simulate import this file again when they start, so it must stay light.
"""

from __future__ import annotations

import sys

if __name__ == '__main__':
    from dysl_vla_ros.training.recipe import main

    sys.exit(main())
