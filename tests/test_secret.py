"""A secret, shown in every way that there is."""

import copy
import pickle
import traceback

import msgspec
import pytest

from muxer import ProviderSettings, Secret

TEXT = "cnry-secret-text"
SECRET = Secret(TEXT)
SETTINGS = ProviderSettings(api_key=SECRET, headers={"x-team": SECRET})


@pytest.mark.parametrize(
    "shown",
    [
        repr(SETTINGS),
        str(SETTINGS),
        f"{SECRET}, {SECRET!r}, {SECRET!s}, {SECRET:>20}",
        "%s %r" % (SECRET, SECRET),  # noqa: UP031  # this way, too
        msgspec.json.encode(SETTINGS, enc_hook=str).decode(),
        msgspec.msgpack.encode(SETTINGS, enc_hook=repr).decode("latin-1"),
        str(msgspec.to_builtins(SETTINGS, enc_hook=str)),
        pickle.dumps(SECRET).decode("latin-1"),
    ],
)
def test_no_way_of_showing_it_shows_it(shown: str) -> None:
    assert TEXT not in shown and "***" in shown


def test_what_cannot_hide_it_cannot_write_it() -> None:
    with pytest.raises(TypeError) as raised:
        msgspec.json.encode(SETTINGS)
    assert TEXT not in "".join(traceback.format_exception(raised.value))


def test_a_traceback_with_all_values_has_it_not() -> None:
    def fails(settings: ProviderSettings) -> None:
        raise RuntimeError(f"failed with {settings}")

    with pytest.raises(RuntimeError) as raised:
        fails(SETTINGS)
    told = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    assert TEXT not in "".join(told.format())


def test_it_is_what_it_says_to_who_asks() -> None:
    assert (SECRET.reveal(), bool(SECRET), bool(Secret(""))) == (TEXT, True, False)
    assert SECRET == Secret(TEXT) == copy.deepcopy(SECRET) == copy.copy(SECRET)
    assert SECRET not in (Secret("another"), TEXT) and len({SECRET, Secret(TEXT)}) == 1
