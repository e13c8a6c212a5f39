"""Reports and traces in ComfyUI's output folder."""

from pathlib import Path

import folder_paths


def report_path(name: str) -> Path:
    """File of a named trace in the output folder. Raises ValueError for names that lead out of it."""
    folder = Path(folder_paths.get_output_directory()) / "scope"
    path = (folder / f"{name}.json").resolve()
    if folder.resolve() not in path.parents:
        raise ValueError(
            f"report_name is {name!r}; it has to be a plain name without '..' or a drive, such as 'scope_run'"
        )
    return path


def save_texts(prefix: str, texts: dict[str, str]) -> tuple[list[str], list[dict[str, str]]]:
    """Write texts by ending under the next free number of `prefix`; their names, and the files as the browser asks for
    them.

    The host refuses prefixes that lead out of the output folder.
    """
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    files = [
        {"filename": f"{name}_{counter:05}_{ending}", "subfolder": subfolder, "type": "output"} for ending in texts
    ]
    for file, text in zip(files, texts.values()):
        Path(folder, file["filename"]).write_text(text, encoding="utf-8")
    return [str(Path(subfolder, file["filename"])) for file in files], files
