"""The named endpoints as MCP tools for agents (``tada-studio app --mcp``, the extra ``mcp``): JSON in, JSON out.

Gradio serves them; what it would answer as Python's repr is answered as JSON here, schemas stand on their own, and a file that
comes in must be one that this server answered with, or was sent, before.
"""

import importlib.util
import json
from typing import Any
from urllib.parse import unquote

import gradio as gr

from tada_studio.app.paths import AllowedPaths
from tada_studio.errors import InputError

_FILE = "/gradio_api/file="
_FILE_SCHEMA = {
    "type": ["object", "string"],
    "description": "a file that this server answered with: the object as it was answered, or its url",
}


def offer_tools(auth: bool) -> None:
    """Have gradio serve the tools below when the app is launched. Raises InputError where that cannot be."""
    if importlib.util.find_spec("mcp") is None:
        raise InputError("--mcp needs the extra `mcp`: pip install 'tada-studio[mcp]'.")
    if auth:
        raise InputError("--mcp and --auth do not go together: agents do not sign in. Serve them on another port.")
    import gradio.mcp as served

    class JsonTools(served.GradioMCPServer):
        """What gradio asks for tools, files and answers."""

        def get_input_schema(self, tool_name: str, parameters: Any = None) -> tuple[dict[str, Any], list]:
            return schema_of(self.api_info["named_endpoints"][self.tool_to_endpoint[tool_name]]["parameters"]), []

        def convert_strings_to_filedata(self, value: Any, filedata_positions: Any) -> Any:
            return with_files(value)

        def postprocess_output_data(self, data: Any, root_url: str) -> list:
            whole = served.processing_utils.add_root_url(data, root_url, None)
            return [self.types.TextContent(type="text", text=json.dumps(one, ensure_ascii=False)) for one in whole]

    served.GradioMCPServer = JsonTools


def schema_of(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, whose references lead to its own definitions."""
    properties, found = {}, {}
    for one in parameters:
        kind = dict(one["type"])
        found.update(kind.pop("$defs", {}))
        default = {} if one.get("parameter_default") is None else {"default": one["parameter_default"]}
        properties[one["parameter_name"]] = {**kind, **default}
    required = [one["parameter_name"] for one in parameters if not one.get("parameter_has_default")]
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    return {**schema, "$defs": {**found, "FileData": _FILE_SCHEMA}}


def with_files(value: Any) -> Any:
    """Arguments with files as gradio's client takes them. Raises InputError for a file that is not this server's to give."""
    if isinstance(value, dict):
        path = value.get("path")
        if isinstance(path, str):
            return gr.FileData(
                path=AllowedPaths().uploaded(path, "file"), orig_name=value.get("orig_name")
            ).model_dump()
        return {name: with_files(one) for name, one in value.items()}
    if isinstance(value, list):
        return [with_files(one) for one in value]
    if isinstance(value, str) and _FILE in value:
        return with_files({"path": unquote(value.split(_FILE, 1)[1])})
    return value
