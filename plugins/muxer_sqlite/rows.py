"""How a record becomes a row and back: one column per field, found by the field's type."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
import msgspec.inspect as types
from msgspec import NODEFAULT, Struct

from muxer import Record, Usage

_encode = msgspec.json.Encoder().encode
_SQL_TYPES: dict[type, str] = {
    types.StrType: "TEXT",
    types.LiteralType: "TEXT",
    types.IntType: "INTEGER",
    types.BoolType: "INTEGER",
    types.FloatType: "REAL",
}
_ZEROS = {"TEXT": "''", "INTEGER": "0", "REAL": "0.0"}


Row = tuple[Any, ...]


class Column(Struct, frozen=True):
    """One column of a record. `default` is SQL: a file that an older version wrote gets the column with it."""

    name: str
    sql_type: str
    default: str
    is_required: bool
    is_json: bool = False

    @property
    def may_be_null(self) -> bool:
        """Whether the field may be None."""
        return self.default == "NULL"


def _columns(cls: type[Struct]) -> list[Column]:
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    columns: list[Column] = []
    for field in info.fields:
        if isinstance(field.type, types.StructType) and field.type.cls is Usage:
            columns += _columns(Usage)
            continue
        sql_type = _sql_type(field.type)
        default = _default(field, sql_type)
        columns.append(Column(field.name, sql_type or "TEXT", default, field.required, sql_type is None))
    return columns


def _sql_type(type_: types.Type) -> str | None:
    """What SQLite knows the values as; None for what it has no type for."""
    if isinstance(type_, types.UnionType):
        found = {_SQL_TYPES.get(type(one)) for one in type_.types if not isinstance(one, types.NoneType)}
        return found.pop() if len(found) == 1 else None
    return _SQL_TYPES.get(type(type_))


def _default(field: types.Field, sql_type: str | None) -> str:
    if field.default_factory is not NODEFAULT:
        value = field.default_factory()
    elif field.default is not NODEFAULT:
        value = field.default
    else:
        return _ZEROS[sql_type or "TEXT"]
    if sql_type is None:
        value = _encode(value).decode()
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(int(value) if sql_type == "INTEGER" else value)


COLUMNS = tuple(_columns(Record))
KEPT = ("id", "at", "user", "feedback")
"""What no settlement changes: the key, what indexes sort by, and a score, which may come before it. An UPDATE that
names one of these, even to its own value, has SQLite write those indexes anew."""
_TOKENS = Usage.__struct_fields__
_JSON = tuple(column.name for column in COLUMNS if column.is_json)
_PLAIN = (*KEPT, *(column.name for column in COLUMNS if column.name not in (*KEPT, *_TOKENS, *_JSON)))
NAMES = (*_PLAIN, *_TOKENS, *_JSON)
"""The columns of a row in the order of `to_row`."""
_plain_of = attrgetter(*_PLAIN)
_tokens_of = attrgetter(*_TOKENS)
_json_of = attrgetter(*_JSON)
_texts = itemgetter(*(NAMES.index(column.name) for column in COLUMNS if column.sql_type == "TEXT"))
_READ: dict[str, Callable[[Any], object]] = {
    field.name: msgspec.json.Decoder(field.type).decode if field.name in _JSON else bool
    for field in msgspec.structs.fields(Record)
    if field.name in _JSON or field.type is bool
}


def to_row(record: Record) -> Row:
    """The columns of a record, as NAMES has them."""
    as_json = [_encode(value).decode() for value in _json_of(record)]
    return (*_plain_of(record), *_tokens_of(record.usage), *as_json)


def text_bytes(row: Row) -> int:
    """About how much memory a row takes besides what every row does."""
    return sum(map(len, _texts(row)))


def reader(names: Sequence[str]) -> Callable[[Iterable[Any]], Record]:
    """Makes records of rows selected as these names; what is not among them has its default."""
    tokens = [name for name in _TOKENS if name in names]
    read = [(name, _READ[name]) for name in names if name in _READ]

    def record(row: Iterable[Any]) -> Record:
        fields: dict[str, Any] = dict(zip(names, row, strict=True))
        usage = Usage(**{name: fields.pop(name) for name in tokens})
        for name, decode in read:
            fields[name] = decode(fields[name])
        return Record(usage=usage, **fields)

    return record


from_row = reader(NAMES)
"""The record of a row selected as NAMES."""
