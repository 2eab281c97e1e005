"""`python -m gateway.picker`: one picker as its own process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Sequence

from gateway.picker.errors import PickerError
from gateway.picker.options import HELP, Options, parse_options
from kit.alarm import new_event_loop
from kit.console import complain, say, show
from kit.printable import LineFormatter
from kit.signals import ENDING, hear, ignore


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 after a signal, 2 for what cannot be used."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument in ("-h", "-help", "--help") for argument in arguments):
        show(HELP)
        return 0
    try:
        options = parse_options(arguments)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logging.basicConfig(level=logging.DEBUG if options.v >= 5 else logging.INFO, handlers=[handler])
        return _run(options)
    except PickerError as error:
        complain(f"picker: {error}")
        return error.exit_code


def _run(options: Options) -> int:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(options))


async def _serve(options: Options) -> int:
    from gateway.picker.app import Picker  # noqa: PLC0415 - imports gRPC

    picker = Picker(options)
    stopping = asyncio.Event()
    hear(ENDING, lambda _: stopping.set())
    try:
        line = await picker.start()
        # What was imported lives for ever: a collection in the path of a request need not look at it.
        gc.freeze()
        say(line)
        await stopping.wait()
    finally:
        await picker.stop()
        ignore(ENDING)
    return 0
