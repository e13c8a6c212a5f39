"""The only code that touches the host's internals (comfy.*, latent_preview, PromptServer)."""
