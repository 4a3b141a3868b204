"""Sets up logging once for a process: structlog, to standard error, for people or for programs."""

import contextlib
import io
import logging
import sys
from typing import TextIO, cast

import structlog

__all__ = ["configure"]


class _Enduring(io.TextIOBase):
    """A stream for logs: one that cannot be written, for example because the disk is full, stops nobody's work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes what can be written."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hands over what can be handed over."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure(log_format: str, log_level: str) -> None:
    """Logs as `console` or `json` from the given level on."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if log_format == "json":
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # Plain tracebacks: those with locals would show payloads and tokens.
        plain = structlog.dev.plain_traceback
        shared.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain))
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[log_level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Enduring(sys.stderr))),
        cache_logger_on_first_use=True,
    )
