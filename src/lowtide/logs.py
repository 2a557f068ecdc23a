"""How the shell logs: one event a fact, structured, on standard error; a fault with its plain traceback."""

import logging
import sys

import structlog


def configure_logging() -> None:
    """Key-value lines with a UTC time. structlog's own tracebacks draw every local variable, which takes seconds."""
    # It warns where a tick finds the last one still at work, which is how ticks are meant to be skipped.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
