import hashlib
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from muxer import Secret
from muxer.config.load import has_key, load
from muxer.config.settings import DefaultsSettings, KeySettings, LimitSettings, Place
from muxer.errors import ConfigInvalid
from muxer.interfaces import ProviderSettings
from muxer.limits import Amounts
from muxer.plugins import find_kinds
from tests.config.example import ENVIRON, FULL, NOON, PRICES, SqliteSettings, faults_of, load_text

SHORT = """\
version: 1
plugins: [openai, sqlite]
providers: {openai: {kind: openai, api_key: "${OPENAI_API_KEY}"}}
models: {gpt-4o: {provider: openai}}
"""
LATER = NOON + 60 * 86_400


def _digest(secret: str) -> str:
    return f"sha256:{hashlib.sha256(secret.encode()).hexdigest()}"


def test_a_full_file_loads_whole(tmp_path: Path) -> None:
    settings = load_text(tmp_path, FULL).settings
    assert settings.server.address == ("::1", 8080)
    assert settings.server.max_body_bytes == 1_000_000
    assert settings.models["haiku"].price_tiers[0].above_input_tokens == 200_000
    assert settings.models["balanced"].weights == (9.0, 1.0)
    assert settings.routes[0].share == 0.25
    assert settings.routes[1].timeout_s == 20.0
    assert settings.timezone == "Europe/Zurich"
    assert (settings.budget_status, settings.strict_params) == (429, True)
    assert settings.defaults == DefaultsSettings(model="haiku", max_tokens=500, min_output_tokens=64, temperature=0.0)


def test_amounts_are_exact_decimals(tmp_path: Path) -> None:
    settings = load_text(tmp_path, FULL).settings
    assert settings.limits[0] == LimitSettings(per="user", daily_usd=Decimal(10), monthly_usd=Decimal("99.99"))
    price = settings.models["haiku"].price_usd_per_million
    assert price is not None
    assert price.cached_input == Decimal("0.03")


def test_a_kind_decodes_its_own_settings(tmp_path: Path) -> None:
    settings = load_text(tmp_path, FULL).settings
    assert settings.store.settings == SqliteSettings(path="spend.db")
    assert settings.providers["openai"].settings == ProviderSettings(
        api_key=Secret("sk-secret-one"), timeout_s=30.0, headers={"x-team": Secret("none")}
    )


def test_rules_are_compiled_one_per_route(tmp_path: Path) -> None:
    rule, catch_all = load_text(tmp_path, FULL).rules
    assert catch_all is None
    assert rule is not None
    assert rule({"code": 0.3, "team": "research"})
    assert not rule({"code": 0.1, "team": "research"})


def test_keys_are_kept_as_digests_only(tmp_path: Path) -> None:
    configuration = load_text(tmp_path, FULL)
    alice, bob = configuration.settings.keys
    assert (alice.digest, alice.secret, alice.user) == (_digest("alice-secret-three"), None, "alice")
    assert bob.user == "robert"
    assert "alice-secret" not in repr(configuration)


def test_a_key_has_limits_and_an_end_of_its_own(tmp_path: Path) -> None:
    key = '{name: ci, secret: x, expires: "2027-01-31T00:00:00Z", limits: [{daily_usd: 0.5}, {concurrent: 2}]}'
    (loaded,) = load_text(tmp_path, f"{SHORT}keys: [{key}]\n").settings.keys
    assert loaded.expires == "2027-01-31T00:00:00Z"
    assert loaded.limits == (Amounts(daily_usd=Decimal("0.5")), Amounts(concurrent=2))


@pytest.mark.parametrize(("limit", "is_refused"), [("daily_usd: 1", True), ("daily_usd: 1, hold: expected", False)])
def test_a_hard_budget_of_a_key_needs_prices_as_any_other(tmp_path: Path, limit: str, is_refused: bool) -> None:
    text = SHORT + "limits: []\n" + f"keys: [{{name: ci, secret: x, limits: [{{{limit}}}]}}]\n"
    unpriced = text.replace("gpt-4o", "mystery")
    assert unpriced != text
    with pytest.raises(ConfigInvalid, match="no price is known") if is_refused else nullcontext():
        load_text(tmp_path, unpriced)


def test_places_are_where_things_stand(tmp_path: Path) -> None:
    configuration = load_text(tmp_path, FULL)
    assert configuration.places["routes[1]"] == Place(19, 5)
    assert configuration.places["routes[0].when"] == Place(18, 24)
    assert configuration.places["models.haiku.name"] == Place(12, 11)
    assert configuration.folder == tmp_path


def test_the_digest_changes_with_a_setting_and_not_with_a_comment(tmp_path: Path) -> None:
    digest = load_text(tmp_path, FULL).digest
    assert len(digest) == 12
    assert load_text(tmp_path, "# a comment\n" + FULL).digest == digest
    assert load_text(tmp_path, FULL.replace("daily_usd: 10", "daily_usd: 11")).digest != digest
    assert load_text(tmp_path, FULL, ENVIRON | {"OPENAI_API_KEY": "rotated"}).digest != digest


def test_a_file_without_store_has_an_embedded_one(tmp_path: Path) -> None:
    assert load_text(tmp_path, SHORT).settings.store.settings == SqliteSettings(path="muxer.db")


@pytest.mark.parametrize("value", [None, "", " ", "\n", "sk-your-openai-key-here"])
def test_a_provider_without_its_key_is_unavailable(tmp_path: Path, value: str | None) -> None:
    configuration = load_text(tmp_path, SHORT, {} if value is None else {"OPENAI_API_KEY": value})
    assert configuration.settings.providers["openai"].unavailable == "OPENAI_API_KEY is not set"
    assert not has_key(configuration)


def test_a_provider_with_a_literal_placeholder_is_unavailable(tmp_path: Path) -> None:
    configuration = load_text(tmp_path, SHORT.replace("${OPENAI_API_KEY}", "sk-your-openai-key-here"))
    assert configuration.settings.providers["openai"].unavailable == "api_key is a placeholder"


def test_a_provider_that_asks_for_no_key_is_available(tmp_path: Path) -> None:
    configuration = load_text(tmp_path, SHORT.replace(', api_key: "${OPENAI_API_KEY}"', ""), {})
    assert has_key(configuration)


def test_demo_plays_every_provider_and_keeps_whose_prices_apply(tmp_path: Path) -> None:
    configuration = load_text(tmp_path, FULL, {"ALICE_KEY": "x"}, demo=True)
    claude = configuration.settings.providers["claude"]
    assert (claude.kind, claude.vendor, claude.unavailable) == ("demo", "anthropic", "")
    assert configuration.demo
    assert has_key(configuration)


def test_the_dotenv_beside_the_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY='from file'\nMAX_TOKENS_DEFAULT=7\n")
    settings = load_text(tmp_path, SHORT, {"MAX_TOKENS_DEFAULT": "8"}).settings
    assert settings.defaults.max_tokens == 8
    provider = settings.providers["openai"].settings
    assert isinstance(provider, ProviderSettings)
    assert provider.api_key == Secret("from file")


def test_a_dotenv_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=1\nB=\xff\n")
    assert faults_of(tmp_path, SHORT) == [".env:2:1: not UTF-8; save it as UTF-8"]


def test_references_work_inside_texts_and_as_numbers(tmp_path: Path) -> None:
    text = SHORT + 'server: {listen: "${HOST}:${PORT:-80}", max_body_bytes: "${SIZE}"}\ntimezone: $${X}\n'
    faults = faults_of(tmp_path, text, {"HOST": "::bad", "SIZE": "12"})
    assert [fault.split(": ", 1)[0] for fault in faults] == ["routing.yaml:5:18", "routing.yaml:6:11"]
    text = text.replace("timezone: $${X}", "")
    assert load_text(tmp_path, text, {"HOST": "0.0.0.0", "SIZE": "12"}).settings.server.listen == "0.0.0.0:80"


def test_the_seeds_variables_fill_what_the_file_leaves_out(tmp_path: Path) -> None:
    environ = {
        "DEFAULT_MODEL": "gpt-4o",
        "MAX_TOKENS_DEFAULT": "1000",
        "TEMPERATURE_DEFAULT": "0",
        "ALLOWED_API_KEYS": "sk-test-key-1, sk-test-key-2,,sk-test-key-1",
        "DEFAULT_DAILY_BUDGET": "2.50",
        "DEBUG": "true",
    }
    configuration = load_text(tmp_path, SHORT, environ)
    settings = configuration.settings
    assert settings.defaults == DefaultsSettings(model="gpt-4o", max_tokens=1000, temperature=0.0)
    assert settings.limits == (LimitSettings(per="user", daily_usd=Decimal("2.50"), monthly_usd=Decimal(100)),)
    names = [f"key-{_digest(key)[7:15]}" for key in ("sk-test-key-1", "sk-test-key-2")]
    assert [key.user for key in settings.keys] == names
    digest = _digest("sk-test-key-1")
    assert settings.keys[0] == KeySettings(name=names[0], user=names[0], digest=digest, role="metrics")
    assert configuration.debug


def test_the_file_wins_over_the_seeds_variables(tmp_path: Path) -> None:
    environ = ENVIRON | {"MAX_TOKENS_DEFAULT": "9", "ALLOWED_API_KEYS": "k", "DEFAULT_DAILY_BUDGET": "nonsense"}
    settings = load_text(tmp_path, FULL, environ).settings
    assert settings.defaults.max_tokens == 500
    assert [key.name for key in settings.keys] == ["alice", "bob"]
    assert len(settings.limits) == 2


def test_without_variables_each_user_has_ten_dollars_a_day(tmp_path: Path) -> None:
    configuration = load_text(tmp_path, SHORT, {})
    assert configuration.settings.limits == (
        LimitSettings(per="user", daily_usd=Decimal(10), monthly_usd=Decimal(100)),
    )
    assert (configuration.settings.keys, configuration.debug) == ((), False)


def test_wrong_variables_are_named_and_their_values_are_not(tmp_path: Path) -> None:
    environ = {"DEFAULT_DAILY_BUDGET": "ten", "MAX_TOKENS_DEFAULT": "-3", "TEMPERATURE_DEFAULT": "9", "DEBUG": "loud"}
    assert faults_of(tmp_path, SHORT, environ) == [
        "DEBUG: expected true or false",
        "MAX_TOKENS_DEFAULT: expected at least 1",
        "TEMPERATURE_DEFAULT: expected at most 2",
        "DEFAULT_DAILY_BUDGET: expected an amount such as 10 or 0.25",
    ]


def test_an_unknown_default_model_is_a_warning_and_ignored(tmp_path: Path) -> None:
    configuration = load_text(tmp_path, SHORT, {"DEFAULT_MODEL": "gpt-secret"})
    assert configuration.settings.defaults.model is None
    assert [str(warning) for warning in configuration.warnings] == [
        "DEFAULT_MODEL: no model of that name; ignored; give a name under models"
    ]


def test_a_retired_model_is_a_warning_and_no_default(tmp_path: Path) -> None:
    text = SHORT.replace("gpt-4o: {provider: openai}", "old: {provider: openai, name: gpt-3.5-turbo}")
    text += "defaults: {model: old}\n"
    assert load_text(tmp_path, text, at=NOON - 60 * 86_400).warnings == ()
    soon = load_text(tmp_path, text)
    assert [warning.message for warning in soon.warnings] == ["the vendor retires this model on 2026-10-23"]
    assert soon.settings.defaults.model == "old"
    configuration = load_text(tmp_path, text, at=LATER)
    assert [warning.message for warning in configuration.warnings] == [
        "the vendor retired this model on 2026-10-23",
        "this model is retired; ignored",
    ]
    assert configuration.settings.defaults.model is None


def test_literal_secrets_are_warnings_without_the_secret(tmp_path: Path) -> None:
    text = SHORT.replace("${OPENAI_API_KEY}", "sk-in-clear") + "keys: [{name: a, secret: also-in-clear}]\n"
    warnings = load_text(tmp_path, text).warnings
    assert [(w.line, w.column, w.path) for w in warnings] == [
        (3, 45, "providers.openai.api_key"),
        (5, 26, "keys[0].secret"),
    ]
    assert "in-clear" not in "".join(map(str, warnings))


def test_escrow_over_a_store_on_this_machine_is_a_warning_with_its_place(tmp_path: Path) -> None:
    text = SHORT + "limits: [{per: user, daily_usd: 1}, {per: user, monthly_usd: 9, on_store_error: escrow}]\n"
    text += 'keys: [{name: a, secret: "${A}", limits: [{daily_usd: 1, on_store_error: escrow}]}]\n'
    warnings = load_text(tmp_path, text, {**ENVIRON, "A": "secret-of-a"}).warnings
    assert [str(warning).partition(":")[2] for warning in warnings] == [
        f"{place}.on_store_error: escrow needs a store on another machine; here it refuses; give refuse or allow"
        for place in ("5:81: limits[1]", "6:74: keys[0].limits[0]")
    ]


def test_escrow_over_a_store_with_a_journal_is_none(tmp_path: Path) -> None:
    text = SHORT.replace("sqlite]", "redis]") + 'store: {kind: redis, url: "${REDIS_URL}"}\n'
    (tmp_path / "routing.yaml").write_text(text + "limits: [{per: user, daily_usd: 1, on_store_error: escrow}]\n")
    variables = {**ENVIRON, "REDIS_URL": "redis://localhost"}
    assert load(tmp_path / "routing.yaml", variables, find_kinds, table=PRICES).warnings == ()


def test_a_loaded_file_can_be_written_as_json(tmp_path: Path) -> None:
    assert b"haiku" in msgspec.json.encode(load_text(tmp_path, FULL).settings, enc_hook=str)
