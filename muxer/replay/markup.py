"""HTML and SVG put together from elements: what is not an element is escaped, so that no name can become markup."""

from html import escape


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *inner: str, **attributes: object) -> Markup:
    """An element. Of attributes an underscore stands for a hyphen, one at the end for nothing (`class_`)."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_printable(str(value)))}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{written}>{joined(*inner)}</{name}>")


def joined(*parts: str) -> Markup:
    """Several parts one after the other, those that are no markup escaped."""
    return Markup("".join(part if isinstance(part, Markup) else escape(_printable(part)) for part in parts))


def _printable(text: str) -> str:
    """Without control characters, which HTML has no form for, and lone surrogates, which UTF-8 has none for."""
    return "".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text)
