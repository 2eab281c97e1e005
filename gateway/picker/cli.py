"""`python -m gateway.picker`: one picker as its own process, until SIGTERM or SIGINT."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence

from gateway.picker.errors import PickerError
from gateway.picker.options import HELP, Options, parse_options

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 after a signal, 2 for what cannot be used."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument in ("-h", "-help", "--help") for argument in arguments):
        print(HELP, end="")
        return 0
    try:
        options = parse_options(arguments)
        logging.basicConfig(
            stream=sys.stderr,
            level=logging.DEBUG if options.v >= 5 else logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s %(message)s",
        )
        return _run(options)
    except PickerError as error:
        print(f"picker: {error}", file=sys.stderr)
        return error.exit_code


def _run(options: Options) -> int:
    import uvloop  # noqa: PLC0415 - --help and flag errors do without it

    return uvloop.run(_serve(options))


async def _serve(options: Options) -> int:
    from gateway.picker.app import Picker  # noqa: PLC0415 - imports gRPC

    picker = Picker(options)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        # Not the loop's own handlers: closing a loop gives its signals back to the default, death, and one
        # that is sent again while the interpreter leaves would turn a clean end into -15.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopping.set))
    try:
        line = await picker.start()
        # What was imported lives for ever: a collection in the path of a request need not look at it.
        gc.freeze()
        print(line, flush=True)
        await stopping.wait()
    finally:
        await picker.stop()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    return 0
