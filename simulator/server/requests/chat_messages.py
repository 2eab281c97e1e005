"""The message types that vLLM accepts in a chat, for validation errors that name them as vLLM does.

Names and order decide the text of an error, so they are vLLM's and OpenAI's. What a content part may hold is
checked where parts are read (`chat_prompt`), not here.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

Part = dict[str, Any]


class ChatCompletionContentPartTextParam(TypedDict):
    text: str
    type: Literal["text"]


TextContent = str | list[ChatCompletionContentPartTextParam]


class ChatCompletionDeveloperMessageParam(TypedDict):
    content: TextContent
    role: Literal["developer"]
    name: NotRequired[str]


class ChatCompletionSystemMessageParam(TypedDict):
    content: TextContent
    role: Literal["system"]
    name: NotRequired[str]


class ChatCompletionUserMessageParam(TypedDict):
    content: str | list[Part]
    role: Literal["user"]
    name: NotRequired[str]


class ChatCompletionAssistantMessageParam(TypedDict):
    role: Literal["assistant"]
    audio: NotRequired[dict[str, Any] | None]
    content: NotRequired[str | list[Part] | None]
    function_call: NotRequired[dict[str, Any] | None]
    name: NotRequired[str]
    refusal: NotRequired[str | None]
    tool_calls: NotRequired[list[dict[str, Any]]]


class ChatCompletionToolMessageParam(TypedDict):
    content: TextContent
    role: Literal["tool"]
    tool_call_id: str


class ChatCompletionFunctionMessageParam(TypedDict):
    content: str | None
    name: str
    role: Literal["function"]


class CustomChatCompletionMessageParam(TypedDict):
    role: str
    content: NotRequired[str | list[Part | str] | None]
    name: NotRequired[str]
    tool_call_id: NotRequired[str | None]
    tool_calls: NotRequired[list[dict[str, Any]] | None]
    reasoning: NotRequired[str | dict[str, Any] | None]
    tools: NotRequired[list[dict[str, Any]] | None]
    task: NotRequired[str | None]


class Author(BaseModel):
    role: Literal["user", "assistant", "system", "developer", "tool"]
    name: str | None = None


class Message(BaseModel):
    """A message of the harmony format."""

    model_config = ConfigDict(extra="allow")

    author: Author
    content: list[dict[str, Any]] = []
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None


ChatCompletionMessageParam = (
    ChatCompletionDeveloperMessageParam
    | ChatCompletionSystemMessageParam
    | ChatCompletionUserMessageParam
    | ChatCompletionAssistantMessageParam
    | ChatCompletionToolMessageParam
    | ChatCompletionFunctionMessageParam
    | CustomChatCompletionMessageParam
    | Message
)
