"""OpenAI's types inside a Responses request: tools, the choice among them, reasoning, the form of the text.

Their names and the order of their fields stand in vLLM's validation errors and in the echo of a response, so
they are OpenAI's (openai-python 3.57, `types/responses`). What a simulator never looks into is an object.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Callers = list[Literal["direct", "programmatic"]] | None
Size = Literal["low", "medium", "high"] | None


class _Tool(BaseModel):
    model_config = ConfigDict(extra="allow", populate_by_name=True)


class FunctionTool(_Tool):
    name: str
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    type: Literal["function"]
    allowed_callers: Callers = None
    async_: bool | None = Field(default=None, alias="async")
    defer_loading: bool | None = None
    description: str | None = None
    output_schema: dict[str, Any] | None = None


class FileSearchTool(_Tool):
    type: Literal["file_search"]
    vector_store_ids: list[str]
    filters: dict[str, Any] | None = None
    max_num_results: int | None = None
    ranking_options: dict[str, Any] | None = None


class ComputerTool(_Tool):
    type: Literal["computer"]


class ComputerUsePreviewTool(_Tool):
    display_height: int
    display_width: int
    environment: Literal["windows", "mac", "linux", "ubuntu", "browser"]
    type: Literal["computer_use_preview"]


class WebSearchTool(_Tool):
    type: Literal["web_search", "web_search_2025_08_26"]
    external_web_access: bool | None = None
    filters: dict[str, Any] | None = None
    search_context_size: Size = None
    user_location: dict[str, Any] | None = None


class Mcp(_Tool):
    server_label: str
    type: Literal["mcp"]
    allowed_callers: Callers = None
    allowed_tools: list[str] | dict[str, Any] | None = None
    authorization: str | None = None
    connector_id: str | None = None
    defer_loading: bool | None = None
    headers: dict[str, str] | None = None
    require_approval: dict[str, Any] | Literal["always", "never"] | None = None
    server_description: str | None = None
    server_url: str | None = None
    tunnel_id: str | None = None


class CodeInterpreter(_Tool):
    container: str | dict[str, Any]
    type: Literal["code_interpreter"]
    allowed_callers: Callers = None


class ProgrammaticToolCalling(_Tool):
    type: Literal["programmatic_tool_calling"]


class ImageGeneration(_Tool):
    type: Literal["image_generation"]
    action: Literal["generate", "edit", "auto"] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    complexity: Size = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    input_fidelity: Literal["high", "low"] | None = None
    input_image_mask: dict[str, Any] | None = None
    model: str | None = None
    moderation: Literal["auto", "low"] | None = None
    output_compression: int | None = None
    output_format: Literal["png", "webp", "jpeg", "gif", "svg"] | None = None
    partial_images: int | None = None
    quality: Literal["low", "medium", "high", "xhigh", "max", "auto"] | None = None
    size: str | None = None
    svg: dict[str, Any] | None = None


class LocalShell(_Tool):
    type: Literal["local_shell"]


class FunctionShellTool(_Tool):
    type: Literal["shell"]
    allowed_callers: Callers = None
    environment: dict[str, Any] | None = None


class CustomTool(_Tool):
    name: str
    type: Literal["custom"]
    allowed_callers: Callers = None
    async_: bool | None = Field(default=None, alias="async")
    defer_loading: bool | None = None
    description: str | None = None
    format: dict[str, Any] | None = None


class NamespaceTool(_Tool):
    description: str
    name: str
    tools: list[dict[str, Any]]
    type: Literal["namespace"]


class ToolSearchTool(_Tool):
    type: Literal["tool_search"]
    description: str | None = None
    execution: Literal["server", "client"] | None = None
    parameters: Any = None


class WebSearchPreviewTool(_Tool):
    type: Literal["web_search_preview", "web_search_preview_2025_03_11"]
    search_content_types: list[Literal["text", "image"]] | None = None
    search_context_size: Size = None
    user_location: dict[str, Any] | None = None


class ApplyPatchTool(_Tool):
    type: Literal["apply_patch"]
    allowed_callers: Callers = None


Tool = (
    FunctionTool
    | FileSearchTool
    | ComputerTool
    | ComputerUsePreviewTool
    | WebSearchTool
    | Mcp
    | CodeInterpreter
    | ProgrammaticToolCalling
    | ImageGeneration
    | LocalShell
    | FunctionShellTool
    | CustomTool
    | NamespaceTool
    | ToolSearchTool
    | WebSearchPreviewTool
    | ApplyPatchTool
)


class ToolChoiceAllowed(_Tool):
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]
    type: Literal["allowed_tools"]


class ToolChoiceTypes(_Tool):
    type: Literal[
        "file_search",
        "web_search_preview",
        "computer",
        "computer_use_preview",
        "computer_use",
        "web_search_preview_2025_03_11",
        "image_generation",
        "code_interpreter",
    ]


class ToolChoiceFunction(_Tool):
    name: str
    type: Literal["function"]


class ToolChoiceMcp(_Tool):
    server_label: str
    type: Literal["mcp"]
    name: str | None = None


class ToolChoiceCustom(_Tool):
    name: str
    type: Literal["custom"]


class ToolChoiceSpecificProgrammaticToolCallingParam(_Tool):
    type: Literal["programmatic_tool_calling"]


class ToolChoiceApplyPatch(_Tool):
    type: Literal["apply_patch"]


class ToolChoiceShell(_Tool):
    type: Literal["shell"]


ToolChoice = (
    Literal["none", "auto", "required"]
    | ToolChoiceAllowed
    | ToolChoiceTypes
    | ToolChoiceFunction
    | ToolChoiceMcp
    | ToolChoiceCustom
    | ToolChoiceSpecificProgrammaticToolCallingParam
    | ToolChoiceApplyPatch
    | ToolChoiceShell
)

Include = list[
    Literal[
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "message.output_text.logprobs",
        "reasoning.encrypted_content",
    ]
]


class Reasoning(_Tool):
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    mode: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseFormatText(_Tool):
    type: Literal["text"]


class ResponseFormatTextJSONSchemaConfig(_Tool):
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    type: Literal["json_schema"]
    description: str | None = None
    strict: bool | None = None


class ResponseFormatJSONObject(_Tool):
    type: Literal["json_object"]


class ResponseTextConfig(_Tool):
    format: ResponseFormatText | ResponseFormatTextJSONSchemaConfig | ResponseFormatJSONObject | None = None
    verbosity: Size = None
