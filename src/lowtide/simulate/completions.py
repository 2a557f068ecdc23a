"""Chat completions as a simulated model gives them: the true shape of OpenAI's wire, with filler for text."""

import hashlib
import time
from collections.abc import Mapping
from typing import Any

_WORDS = (
    "we",
    "have",
    "looked",
    "into",
    "this",
    "for",
    "you",
    "and",
    "your",
    "order",
    "will",
    "arrive",
    "soon",
    "please",
    "reply",
    "if",
    "anything",
    "is",
    "still",
    "open",
    "thank",
    "you",
    "for",
    "writing",
    "to",
    "us",
)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of the messages, counted as a quarter of their UTF-8 bytes, rounded up."""
    total = 0
    for message in body.get("messages", ()):
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        total += sum(len(str(part.get("text") or "").encode()) for part in parts if isinstance(part, dict))
    return -(-total // 4)


def limit_of(body: Mapping[str, Any]) -> int:
    """The output limit of a request, whichever field names it."""
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or 4_096)


def usual_tokens(body: Mapping[str, Any]) -> int:
    """A length drawn from the request's own hash: the same request gets the same answer."""
    digest = hashlib.sha256(repr(body.get("messages")).encode()).digest()
    return 20 + int.from_bytes(digest[:2], "big") % 300


def filler(tokens: int) -> str:
    """About so many tokens of text."""
    return " ".join(_WORDS[index % len(_WORDS)] for index in range(max(1, tokens)))


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """A usage object with all its details."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def head(body: Mapping[str, Any], kind: str, number: int) -> dict[str, Any]:
    """The fields that a completion and its chunks share."""
    return {
        "id": f"chatcmpl-sim-{number}",
        "object": kind,
        "created": int(time.time()),
        "model": body.get("model", ""),
        "system_fingerprint": "simulator",
    }


def completion(body: Mapping[str, Any], number: int, tokens: int, text: str) -> dict[str, Any]:
    """A whole answer."""
    return head(body, "chat.completion", number) | {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "length" if tokens >= limit_of(body) else "stop",
            }
        ],
        "usage": usage(prompt_tokens(body), tokens),
        "service_tier": body.get("service_tier") or "default",
    }


def error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
