"""Python files of the operator, as LiteLLM finds them: `file.instance`, beside routing.yaml or installed."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from muxer import ConfigInvalid, Fault


def load_instance(name: str, folder: Path) -> object:
    """The object `name` means. The file is run anew each time, so that a reload takes what it says now.

    Raises ConfigInvalid when there is no such file, it does not run, or it has no such name.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        module = _module(module_name, folder.resolve())
    except (Exception, SystemExit) as error:  # foreign code runs on import and may raise anything
        raise ConfigInvalid(
            [Fault(f"{name}: {module_name} does not import: {type(error).__name__}: {error}")]
        ) from error
    try:
        found: object = getattr(module, attribute)
    except AttributeError as error:
        raise ConfigInvalid([Fault(f"{name}: {module_name} has no {attribute!r}")]) from error
    return found


def _module(name: str, folder: Path) -> ModuleType:
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    if not path.exists():
        return importlib.import_module(name)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: a file beside the configuration hides nothing that is installed
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
