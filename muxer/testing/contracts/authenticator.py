"""What every authenticator must do, as tests to inherit."""
# ruff: noqa: D102  # a test's name is its sentence

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from muxer import Authenticator, Caller, InvalidAPIKey

NONSENSE = [
    "",
    "Bearer",
    "Bearer ",
    "Bearer a.b.c",
    "Bearer " + "x" * 100_000,
    "Basic YTpi",
    "Bearer \x00'--",
    "Bearer é",
]


class AuthenticatorContract:
    """Subclass it as `TestMyAuthenticator`, say how to open yours, and give headers that hold and some that do not."""

    def open(self, folder: Path) -> AbstractAsyncContextManager[Authenticator]:
        """An authenticator as it is in force."""
        raise NotImplementedError

    def good(self) -> tuple[Mapping[str, str], Caller]:
        """Headers that hold, and whose they are."""
        raise NotImplementedError

    def bad(self) -> Mapping[str, str]:
        """Headers that are for this authenticator and do not hold."""
        raise NotImplementedError

    async def test_knows_its_callers(self, tmp_path: Path) -> None:
        headers, caller = self.good()
        async with self.open(tmp_path) as authenticator:
            assert await authenticator.caller(headers) == caller

    async def test_refuses_what_does_not_hold_without_quoting_it(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as authenticator:
            with pytest.raises(InvalidAPIKey) as refused:
                await authenticator.caller(self.bad())
        assert not [value for value in self.bad().values() if value.split()[-1] in str(refused.value)]

    async def test_leaves_to_others_what_is_not_for_it(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as authenticator:
            assert await authenticator.caller({}) is None
            assert (
                await authenticator.caller({"Authorization": "Bearer sk-somebody", "x-api-key": "sk-somebody"}) is None
            )

    @pytest.mark.parametrize("nonsense", NONSENSE, ids=range(len(NONSENSE)))
    async def test_nonsense_is_nobody(self, tmp_path: Path, nonsense: str) -> None:
        async with self.open(tmp_path) as authenticator:
            try:
                found = await authenticator.caller({"Authorization": nonsense, "x-api-key": nonsense})
            except InvalidAPIKey:
                return
        assert found is None
