"""The public names: a change of them is seen here first, so that it is made on purpose and told in the changelog.

`python -m tests.test_public_api` writes the list anew.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec

import muxer
import muxer.testing

LIST = Path(__file__).parent / "public_api.txt"


def public(module: ModuleType) -> Iterator[str]:
    """A line for each public name, its fields and methods."""
    for name in module.__all__:
        found = getattr(module, name)
        where = f"{module.__name__}.{name}"
        if not inspect.isclass(found):
            yield f"{where}{_signature(found)}" if callable(found) else where
            continue
        bases = ", ".join(base.__name__ for base in found.__bases__ if base is not object)
        yield f"class {where}({bases})"
        if issubclass(found, msgspec.Struct):
            for field in msgspec.structs.fields(found):
                yield f"  {where}.{field.name}: {'required' if field.required else 'optional'}"
        for method in sorted(vars(found)):
            value = inspect.getattr_static(found, method)
            if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                yield f"  {where}.{method}{_signature(value)}"


def _signature(value: object) -> str:
    """The names of a method's parameters; their types are for the type checker."""
    return f"({', '.join(inspect.signature(value).parameters)})" if inspect.isfunction(value) else ""


def listed() -> str:
    return "".join(f"{line}\n" for module in (muxer, muxer.testing) for line in public(module))


def test_the_public_names_are_those_of_the_list() -> None:
    remedy = "public names changed: tell it in CHANGELOG.md, then run `python -m tests.test_public_api`"
    assert LIST.read_text() == listed(), remedy


def test_every_public_name_says_what_it_promises() -> None:
    for module in (muxer, muxer.testing):
        documented = [name for name in module.__all__ if inspect.isclass(getattr(module, name))]
        assert [name for name in documented if not inspect.getdoc(getattr(module, name))] == []


if __name__ == "__main__":
    LIST.write_text(listed())
