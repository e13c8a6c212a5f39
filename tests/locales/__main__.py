"""Make locales/ from the tables beside this file: `python -m tests.locales`.

Asks a real ComfyUI for the texts of all nodes and the browser code for those of the panels, adds those that a table
lacks as empty entries and drops those that changed, writes the files of locales/, and says what is left to translate.
"""

import sys

from workflows.launcher import find_or_build

from .tables import HERE, LANGUAGES, LOCALES, complaints, dumped, english, files, read, updated


def main() -> int:
    with find_or_build().serve() as server:
        info = {name: node for name, node in server.object_info().items() if name.startswith("SCOPE_")}
    wanted, left = english(info), 0
    for language in LANGUAGES:
        table = updated(read(language), wanted)
        (HERE / f"{language}.json").write_text(dumped(table), encoding="utf-8")
        (LOCALES / language).mkdir(parents=True, exist_ok=True)
        for name, text in files(info, table).items():
            (LOCALES / language / name).write_text(text, encoding="utf-8")
        for complaint in complaints(table, wanted):
            left += 1
            print(f"{language}: {complaint}")
    print(f"{len(wanted)} texts in {len(LANGUAGES)} languages, {left} to mend." if left else "All is translated.")
    return bool(left)


if __name__ == "__main__":
    sys.exit(main())
