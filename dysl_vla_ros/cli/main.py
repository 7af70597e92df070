"""The console program ``dysl``; subcommands are imported only when they are called."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from dysl_vla_ros.errors import DyslError

COMMANDS = {
    'anchors': 'Fine-tuned fixed exits and shallow dense models, to compare with (resumes)',
    'bench': 'What a pass costs on this machine, and what skipping gains',
    'build': 'Compile the plans of a bundle for the GPU of this machine (TensorRT)',
    'calibrate': 'Choose static layers, and when to skip, from what the policy did',
    'chaos': 'Put faults into the running graph and judge what comes of them',
    'collect': 'Demonstrations or corrections as a LeRobot dataset (resumes)',
    'demo': 'Run the simulated arm and the node, live in the terminal',
    'distill': 'Adapters and controllers around a frozen checkpoint (resumes)',
    'doctor': 'Say what is installed, what is missing, and how to get it',
    'evaluate': 'Closed-loop success, depth and latency over many episodes',
    'export': 'Turn a checkpoint or a published folder into a bundle, one graph per part',
    'film': 'One simulated episode as a picture or an animation, with its layers',
    'headroom': 'How much dynamic depth could save at best, beside every fixed exit (resumes)',
    'inspect': 'Say what a folder is, what is supported, what is missing, what it takes',
    'recipe': 'From nothing to a bundle: every stage of the training (resumes)',
    'results': 'The page of all comparisons from committed JSON, and the runs it lacks (resumes)',
    'soak': 'Run the demo for a long time: memory, descriptors, threads, rate',
    'train': 'The dense policy from datasets; several GPUs by accelerate launch (resumes)',
    'verify': 'Compare an engine with FP32: every segment, and many ways through the stack',
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: Command line; ``sys.argv[1:]`` by default.

    Returns:
        Exit code: 0, 1 after an error that is explained in one line, 2 for a wrong call.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog='dysl', description='Tools of dysl_vla_ros.')
    chosen = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, text in COMMANDS.items():
        command = chosen.add_parser(name, help=text, description=text)
        # Options are declared by the subcommand's own module: only that one is imported.
        if words[:1] == [name]:
            try:
                importlib.import_module(f'dysl_vla_ros.cli.{name}').add_options(command)
            except ModuleNotFoundError as error:
                if (error.name or '').startswith('dysl_vla_ros'):
                    raise
                print(f'dysl {name}: {error}; dysl doctor says how to get it', file=sys.stderr)
                return 1
    given = parser.parse_args(words)
    module = importlib.import_module(f'dysl_vla_ros.cli.{given.command}')
    try:
        code: int = module.run(given)
        return code
    except DyslError as error:
        print(f'dysl {given.command}: {error}', file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        print(f'dysl {given.command}: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
