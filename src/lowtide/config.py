"""Where the files that an operator edits stand."""

from pathlib import Path


def config_folder() -> Path:
    """`config/` of the working folder, else of the source tree, else the one that the package ships."""
    here = Path.cwd() / "config"
    package = Path(__file__).resolve().parent
    tree = package.parents[1] / "config"
    for folder in (here, tree):
        if (folder / "providers").is_dir():
            return folder
    return package / "_config"
