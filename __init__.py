"""SCOPE for ComfyUI: autoregressive video diffusion, accelerated."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    from .nodes import ScopeExtension

    return ScopeExtension()
