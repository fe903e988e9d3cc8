"""What came of a verb: JSON for programs, text for people."""

import argparse
from collections.abc import Callable

from tinyc.compiler.json_text import json_text


def tell(args: argparse.Namespace, fields: Callable[[], object], *shows: Callable[[], None]) -> int:
    """What came of a verb: its fields as JSON, or as `shows` print it; the exit status 0."""
    if args.json:
        print(json_text(fields()))
    else:
        for show in shows:
            show()
    return 0
