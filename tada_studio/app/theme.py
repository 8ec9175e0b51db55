"""How the app looks: one theme whose fonts ship with gradio, and one style sheet. Nothing is fetched from elsewhere."""

from pathlib import Path

import gradio as gr

CSS = Path(__file__).parent / "theme.css"


def theme() -> gr.themes.Base:
    """Blue for what can be done next, slate for the rest; orange belongs to the domain alone."""
    return gr.themes.Base(
        primary_hue="blue", secondary_hue="slate", neutral_hue="slate", text_size="sm", spacing_size="sm",
        radius_size="md",
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "monospace"],
    ).set(
        block_shadow="none",
        body_background_fill="*neutral_50",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="white",
        block_label_text_weight="400",
        block_title_text_weight="400",
        # gradio's own subdued text is too pale to read on white
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
    )  # fmt: skip
