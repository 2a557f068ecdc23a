"""Chat completions as a simulated model gives them: the true shape of OpenAI's wire, with filler for text."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

_FILLER = (
    "we have looked into this for you and your order will arrive soon please reply if anything is still open "
    "thank you for writing to us"
)
_WORDS = tuple(_FILLER.split())
_TIERS = {"flex": "flex", "scale": "scale", "priority": "priority", "fast": "priority"}


def complaint(body: object) -> str | None:
    """What is wrong with a request's body, or None."""
    if not isinstance(body, dict):
        return "The body is no JSON object."
    if not isinstance(body.get("model"), str):
        return "you must provide a model parameter"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        return "Invalid type for 'messages': expected an array of objects."
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            return f"Invalid value for '{name}': expected an integer from 1."
    return None


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of the messages, counted as a quarter of their UTF-8 bytes, rounded up."""
    total = 0
    for message in body["messages"]:
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


def finish_reason(body: Mapping[str, Any], tokens: int) -> str:
    """Why an answer of so many tokens ended."""
    return "length" if tokens >= limit_of(body) else "stop"


def head(body: Mapping[str, Any], kind: str, number: int) -> dict[str, Any]:
    """The fields that a completion and its chunks share."""
    return {
        "id": f"chatcmpl-sim-{number}",
        "object": kind,
        "created": int(time.time()),
        "model": body["model"],
        "system_fingerprint": "simulator",
        "service_tier": _TIERS.get(str(body.get("service_tier")), "default"),
    }


def completion(body: Mapping[str, Any], number: int, tokens: int, text: str) -> dict[str, Any]:
    """A whole answer."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None,
        "finish_reason": finish_reason(body, tokens),
    }
    return head(body, "chat.completion", number) | {
        "choices": [choice],
        "usage": usage(prompt_tokens(body), tokens),
    }


def model_list(models: Sequence[str]) -> dict[str, Any]:
    """The models of a provider, in the shape of OpenAI's list."""
    listed = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in models]
    return {"object": "list", "data": listed}


def error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
