"""Answers that go on: server-sent events, and JSON lines."""

from fastapi.responses import StreamingResponse


class EventStream(StreamingResponse):
    """Server-sent events, which nobody keeps."""

    media_type = "text/event-stream"


class JsonLines(StreamingResponse):
    """One JSON value a line."""

    media_type = "application/x-ndjson"
