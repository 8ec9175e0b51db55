"""The entry point of a Hugging Face Space: the folder that holds this file also holds tada_studio/.

On a machine of your own, `tada-studio` starts the same app.
"""

import os

os.environ.setdefault("GRADIO_SSR_MODE", "false")

try:  # on a ZeroGPU Space this must come before torch; elsewhere the package is not there and not needed
    import spaces  # noqa: F401
except ImportError:
    pass

from tada_studio import app

demo = app.build(public=True)

if __name__ == "__main__":
    app.launch(demo, ssr_mode=False)
