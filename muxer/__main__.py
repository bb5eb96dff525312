"""`muxer`: reads the command line and runs one command."""

import argparse
import sys
from importlib import import_module
from importlib.metadata import version

from muxer.errors import MuxerError

# In the order of --help. A command's module is imported when it is asked for, so that none waits for another's imports.
COMMANDS = {
    "serve": "run the proxy",
    "demo": "send sample prompts and show what they cost",
    "check": "validate a routing.yaml",
    "explain": "show how a request would be decided, and why",
    "replay": "show what a changed routing.yaml would have done to recorded requests",
    "eval": "show what a signal or a routing.yaml saves on prompts with known answers, and at what quality",
    "train": "teach the difficulty signal on prompts with known answers",
    "models": "list models with price, context and availability",
    "prices": "show age and source of the price table, or one model's price",
    "plugins": "list plugins and what each offers",
    "requests": "show what was recorded",
    "usage": "sum up spend and tokens",
    "feedback": "keep scores of answers from a file",
    "ledger": "list presumed spend, and say what it really cost",
    "keys": "make, list and revoke API keys in the store",
    "import-litellm": "make a routing.yaml from LiteLLM's config.yaml",
}


def main() -> int:
    """Runs the command of sys.argv; 0 fine, 1 the answer is no, 2 wrong usage, or it could not be done."""
    parser = argparse.ArgumentParser(prog="muxer", description="Sends each LLM request to the right model.")
    parser.add_argument("--version", action="version", version=f"modelmuxer {version('modelmuxer')}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    for name, words in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=words, description=words.capitalize() + ".")
        if name == asked:
            command = import_module(f"muxer.cli.{name.replace('-', '_')}")
            command.add(subparser)
            subparser.set_defaults(run=command.run)
    arguments = parser.parse_args()
    try:
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; Python would complain on the way out
        return 0
    except MuxerError as error:
        return _failed(error)
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else error)
    return code


def _failed(words: object) -> int:
    import_module("muxer.cli.output").print_error(words)
    return 2


if __name__ == "__main__":
    sys.exit(main())
