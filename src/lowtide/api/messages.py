"""Chat messages: the little that every provider insists on; whatever else they hold passes through."""

from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_INSTEAD = ("tool_calls", "function_call", "refusal", "audio")
"""What an assistant's message may hold in place of content."""


def message(given: dict[str, Any]) -> dict[str, Any]:
    """The message, if it has a role and content that providers take."""
    role, content = given.get("role"), given.get("content")
    if role is None:
        raise _fault("missing_field", f"A message needs a role. Send one of {', '.join(ROLES)}.", "role")
    if role not in ROLES:
        raise _fault("message_role", f"Not a role. Send one of {', '.join(ROLES)}.", "role")
    if content is None:
        if role != "assistant" or not any(given.get(name) for name in _INSTEAD):
            code = "message_content" if "content" in given else "missing_field"
            text = "Send content: text, or a list of parts. Only an assistant that calls tools may lack it."
            raise _fault(code, text, "content")
    elif isinstance(content, list):
        _refuse_odd_parts(content)
    elif not isinstance(content, str):
        raise _fault("message_content", "Send content as text, or as a list of parts.", "content")
    return given


def _refuse_odd_parts(parts: list[Any]) -> None:
    for index, part in enumerate(parts):
        if not isinstance(part, dict):
            text = 'Send an object with a type, such as {"type": "text", "text": "…"}.'
            raise _fault("message_content", text, "content", index)
        if not isinstance(part.get("type"), str):
            text = "A part needs a type, such as text or image_url."
            raise _fault("missing_field", text, "content", index, "type")


def _fault(code: str, text: str, *path: str | int) -> PydanticCustomError:
    return PydanticCustomError(code, "{text}", {"text": text, "path": path})


_PART = {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}
Message = Annotated[
    dict[str, Any],
    AfterValidator(message),
    WithJsonSchema(
        {
            "type": "object",
            "required": ["role"],
            "additionalProperties": True,
            "properties": {
                "role": {"type": "string", "enum": list(ROLES)},
                "content": {
                    "description": "text, or parts; null only for an assistant that calls tools",
                    "anyOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}],
                },
            },
        }
    ),
]
