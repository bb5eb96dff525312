"""Wrong files and the exact lines an operator reads."""

from pathlib import Path

import pytest

from muxer.config.load import load
from muxer.errors import ConfigInvalid
from tests.config.example import BASE, faults_of, find_kinds

ORDERS = "cascade, cheapest, listed, value, weighted, found 'cheepest'; did you mean 'cheapest'?"

# What is no YAML for us, as a whole file.
NO_FILE = [
    (b"", "1:1: the file is empty; begin with `version: 1`"),
    (b"# nothing\n", "1:1: the file is empty; begin with `version: 1`"),
    (b"version: 1\nplugins: [caf\xe9]\n", "2:14: byte 0xe9 is not UTF-8; save the file as UTF-8"),
    (b"version: 1\n\tplugins: []\n", "2:1: a tab; use spaces"),
    (b"version: 1\na: \x00\n", "2:4: character U+0000 is not allowed; remove it, or write an escape in quotes"),
    (b"a" * 1_000_001, "1:1: larger than 1 MB"),
    (b"version: 1\n---\nversion: 1\n", "2:1: a second document; keep one document in the file"),
    (b"- version: 1\n", "1:1: expected a mapping; begin with `version: 1`"),
    (b"!!python/object:os.system echo\n", "1:1: a tag is not allowed; write the plain value"),
    (
        b"version: 1\nplugins: [a\n",
        "3:1: did not find expected ',' or ']'; a bracket above is not closed, a comma is missing, or a quote: "
        'a text with quotes, commas, ": " or " #" in it is quoted as a whole',
    ),
    (
        b"version: 1\nproviders:\n  a:\n    kind:openai\n    api_key: x\n",
        "5:12: mapping values are not allowed in this context; is there a space after the colon in the line above? "
        'And a text with quotes, commas, ": " or " #" in it is quoted as a whole',
    ),
    (
        b"version: 1\nproviders:\n  a: {}\n   b: {}\n",
        "4:4: did not find expected key; its indentation differs from that of the lines above, "
        "or a quote is not closed",
    ),
    (
        b"providers: {a: {api_key: ${KEY}}}\n",
        "1:27: did not find expected ',' or '}'; inside { } and [ ] a reference needs quotes: \"${NAME}\"",
    ),
    (b"? [a]\n: b\n", "1:3: a key must be plain text"),
]

# What is wrong with one section, written after BASE (its lines 7 and on).
IN_A_SECTION = [
    # the text
    ("timezone: &zone UTC", "7:11: timezone: an anchor is not allowed; write the value out"),
    ("timezone: *zone", "7:11: timezone: an alias is not allowed; write the value out"),
    ("timezone: !!str UTC", "7:11: timezone: a tag is not allowed; write the plain value"),
    ("timezone: UTC\ntimezone: UTC", "8:1: duplicate key 'timezone'; first in line 7"),
    ("server: {<<: {}}", "7:10: server: a merge key is not allowed; write the values out"),
    ("server: {1: a}", '7:10: server: a key must be text; write "1" for the text'),
    ('server: {"${A}": a}', "7:10: server: a key cannot have a reference"),
    (
        "server: {on: a}",
        '7:10: server: key on is a boolean to some readers of YAML and text to others; write "on" for the text',
    ),
    (
        "strict_params: yes",
        "7:16: strict_params: yes is a boolean to some readers of YAML and text to others; "
        'write "yes" for the text, true or false for a boolean',
    ),
    (
        "strict_params: True",
        "7:16: strict_params: True is a boolean to some readers of YAML and text to others; "
        'write "True" for the text, true or false for a boolean',
    ),
    (
        "timezone: 0123",
        '7:11: timezone: 0123 is octal to some readers of YAML; write "0123" for the text, '
        "no leading zero for a number",
    ),
    (
        "timezone: 0x1F",
        '7:11: timezone: 0x1F is hexadecimal, octal or binary; write "0x1F" for the text, the number in decimal',
    ),
    (
        "timezone: 1:30",
        '7:11: timezone: 1:30 is a number in base 60 to some readers of YAML; write "1:30" for the text',
    ),
    (
        "timezone: 2026-01-31",
        '7:11: timezone: 2026-01-31 is a date to some readers of YAML; write "2026-01-31" for the text',
    ),
    ("server: {grace_s: .inf}", '7:19: server.grace_s: .inf is not a finite number; write ".inf" for the text'),
    # references
    ("timezone: ${ZONE}", "7:11: timezone: ZONE is not set; set it, or write ${ZONE:-DEFAULT}"),
    ("timezone: a${ZONE}b", "7:11: timezone: ZONE is not set; set it, or write ${ZONE:-DEFAULT}"),
    (
        "timezone: ${no name}",
        "7:11: timezone: '${no name}' is not a reference; write ${NAME}, ${NAME:-default} or ${file:PATH}, and "
        "$${ for ${ itself",
    ),
    ("server: {grace_s: '${OPENAI_API_KEY}'}", "7:19: server.grace_s: expected a number, found '${OPENAI_API_KEY}'"),
    # types
    ("sever: {}", "7:1: sever: unknown key 'sever'; did you mean 'server'?"),
    ("server: {lisen: a}", "7:10: server.lisen: unknown key 'lisen'; did you mean 'listen'?"),
    ("server: []", "7:9: server: expected a mapping, found a list"),
    ("server: x", "7:9: server: expected a mapping, found text"),
    ("routes:", "7:8: routes: expected a list, found nothing"),
    ("timezone: 5", "7:11: timezone: expected text, found a number; write it in quotes"),
    ("server: {grace_s: soon}", "7:19: server.grace_s: expected a number, found 'soon'"),
    ("server: {grace_s: -1}", "7:19: server.grace_s: expected at least 0, found -1"),
    ("server: {max_body_bytes: 1.5}", "7:26: server.max_body_bytes: expected a whole number, found 1.5"),
    (
        'server: {max_body_bytes: "15"}',
        "7:26: server.max_body_bytes: expected a whole number, found '15'; write it without quotes",
    ),
    ("server: {max_body_bytes: 0}", "7:26: server.max_body_bytes: expected at least 1, found 0"),
    ("strict_params: 1", "7:16: strict_params: expected true or false, found 1"),
    ("budget_status: 403", "7:16: budget_status: expected 402 or 429, found 403"),
    ("defaults: {temperature: 2.5}", "7:25: defaults.temperature: expected at most 2, found 2.5"),
    # the general section
    (
        "server: {listen: localhost}",
        "7:18: server.listen: expected HOST:PORT; for example 127.0.0.1:8000 or [::1]:8000",
    ),
    (
        "server: {listen: 'a:70000'}",
        "7:18: server.listen: expected HOST:PORT; for example 127.0.0.1:8000 or [::1]:8000",
    ),
    (
        "server: {listen: '::1:80'}",
        "7:18: server.listen: an IPv6 host is written in brackets; for example 127.0.0.1:8000 or [::1]:8000",
    ),
    ("timezone: Mars/X", "7:11: timezone: no time zone 'Mars/X'; for example Europe/Zurich"),
    ("timezone: Europe/Zurch", "7:11: timezone: no time zone 'Europe/Zurch'; did you mean 'Europe/Zurich'?"),
    # components
    ("store: {path: x}", "7:8: store: missing key 'kind'"),
    ("store: {kind: sqllite}", "7:15: store: unknown kind 'sqllite'; did you mean 'sqlite'?"),
    ("store: {kind: sqlite, pth: x}", "7:23: store.pth: unknown key 'pth'; did you mean 'path'?"),
    ("store: {kind: sqlite, retries: -1}", "7:32: store.retries: expected at least 0, found -1"),
    # routes
    (
        "routes: [{name: a, use: [gpt-4oo]}]",
        "7:26: routes[0].use[0]: no model 'gpt-4oo'; did you mean 'gpt-4o'?",
    ),
    ("routes: [{name: a, use: []}]", "7:25: routes[0].use: expected at least 1, found 0"),
    ("routes: [{name: a}]", "7:10: routes[0]: missing key 'use'"),
    ("routes: [{name: '', use: [free]}]", "7:17: routes[0].name: empty"),
    (
        "routes: [{name: a, use: [free]}, {name: b, use: [free], when: 'chars > 1'}]",
        "7:34: routes[1]: never reached: routes[0] matches every request; move it up, or give that one a when",
    ),
    (
        "routes: [{name: a, use: [free], when: stream}, {name: a, use: [free]}]",
        "7:55: routes[1].name: 'a' is already the name of routes[0]",
    ),
    ("routes: [{name: a, use: [free], order: cheepest}]", "7:40: routes[0].order: expected one of " + ORDERS),
    (
        "routes: [{name: a, use: [free], order: weighted}]",
        "7:40: routes[0].order: missing key 'weights'; one number for each name in use",
    ),
    (
        "routes: [{name: a, use: [free], order: weighted, weights: [1, 2]}]",
        "7:59: routes[0].weights: 2 weights for 1 models; one number for each name in use",
    ),
    (
        "routes: [{name: a, use: [free], order: weighted, weights: [0]}]",
        "7:59: routes[0].weights: expected at least one above 0",
    ),
    ("routes: [{name: a, use: [free], weights: [1]}]", "7:33: routes[0].weights: needs order: weighted"),
    (
        "routes: [{name: a, use: [free], share: 120%}]",
        "7:40: routes[0].share: expected at most 1, found '120%'; a tenth is 0.1 or 10%",
    ),
    (
        "routes: [{name: a, use: [free], share: ten}]",
        "7:40: routes[0].share: expected a share such as 0.1 or 10%, found 'ten'",
    ),
    (
        "routes: [{name: not b, use: [free], share: 0.5}]",
        "7:17: routes[0].name: a route with a share is named in records by its sides; no comma, no `not `",
    ),
    ("routes: [{name: a, use: [free], timeout_s: 0}]", "7:44: routes[0].timeout_s: expected more than 0, found 0"),
    # conditions: plain, quoted, with escapes, over lines
    (
        "routes: [{name: a, use: [free], when: chars > 1 and cod > 0}]",
        "7:53: routes[0].when: unknown name 'cod'; did you mean 'code'?",
    ),
    (
        'routes: [{name: a, use: [free], when: "cod > 0"}]',
        "7:40: routes[0].when: unknown name 'cod'; did you mean 'code'?",
    ),
    (
        'routes: [{name: a, use: [free], when: "\\x20cod > 0"}]',
        "7:39: routes[0].when: unknown name 'cod'; did you mean 'code'?",
    ),
    (
        "routes: [{name: a, use: [free], when: \"user == '${OPENAI_API_KEY}' and cod\"}]",
        "7:39: routes[0].when: no valid condition once its references are filled in",
    ),
    # limits
    (
        "limits: [{per: user}]",
        "7:10: limits[0]: no amount; give one of daily_usd, monthly_usd, "
        "total_usd, requests_per_minute, tokens_per_minute, concurrent",
    ),
    (
        "limits: [{per: user, daily_usd: 1, concurrent: 5, on_store_error: escrow}]",
        "7:67: limits[0].on_store_error: escrow sets money aside, which a rate has none of; "
        "give requests_per_minute, tokens_per_minute, concurrent a limit of their own",
    ),
    (
        "limits: [{per: user, daily_usd: 1, on_store_error: ignore}]",
        "7:52: limits[0].on_store_error: expected one of allow, escrow, refuse, found 'ignore'",
    ),
    (
        "limits: [{per: user, daily_usd: 10 dollars}]",
        "7:33: limits[0].daily_usd: expected an amount such as 10 or 0.25, found '10 dollars'; "
        "the unit is in the name of the key: write the number alone, in that unit",
    ),
    (
        "limits: [{per: user, daily_usd: '$1,000'}]",
        "7:33: limits[0].daily_usd: expected an amount such as 10 or 0.25, found '$1,000'; write 1000",
    ),
    (
        "limits: [{per: user, daily_usd: -1}]",
        "7:33: limits[0].daily_usd: expected an amount such as 10 or 0.25, found -1",
    ),
    (
        "limits: [{per: user, daily_usd: 1e3}]",
        "7:33: limits[0].daily_usd: expected an amount such as 10 or 0.25, found 1e3",
    ),
    (
        "limits: [{per: user, daily_usd: 9_007_200}]",
        "7:33: limits[0].daily_usd: expected at most 9_007_199, found 9_007_200",
    ),
    (
        "limits: [{per: usr, total_usd: 1}]",
        "7:16: limits[0].per: expected one of all, key, model, route, tag, team, user, found 'usr'; "
        "did you mean 'user'?",
    ),
    (
        "limits: [{per: user, daily_usd: 1, where: {model: gpt-5o}}]",
        "7:51: limits[0].where.model: no model 'gpt-5o'; did you mean 'gpt-4o'?",
    ),
    (
        "limits: [{per: user, daily_usd: 1, where: {tem: a}}]",
        "7:44: limits[0].where.tem: unknown key 'tem'; did you mean 'team'?",
    ),
    (
        "limits: [{per: user, burst: 3, daily_usd: 1}]",
        "7:22: limits[0].burst: needs requests_per_minute or tokens_per_minute",
    ),
    # keys
    ("keys: [{name: a}]", "7:8: keys[0]: give either secret or digest"),
    ("keys: [{name: a, secret: ''}]", "7:26: keys[0].secret: empty"),
    ("keys: [{name: a, secret: 123}]", "7:26: keys[0].secret: expected text, found a number; write it in quotes"),
    ("keys: [{name: a, digest: sk-mine}]", "7:26: keys[0].digest: does not match ^sha256:[0-9a-f]{64}$"),
    (
        "keys: [{name: a, secret: x1}, {name: a, secret: x2}]",
        "7:38: keys[1].name: 'a' is already the name of keys[0]",
    ),
    (
        "keys: [{name: a, secret: x, expires: soon}]",
        "7:38: keys[0].expires: 'soon' is no instant; write it with its zone, such as 2027-01-31T00:00:00Z",
    ),
    (
        "keys: [{name: a, secret: x, expires: '2027-01-31T00:00:00'}]",
        "7:38: keys[0].expires: '2027-01-31T00:00:00' is no instant; "
        "write it with its zone, such as 2027-01-31T00:00:00Z",
    ),
    (
        "keys: [{name: a, secret: x, limits: [{hold: expected}]}]",
        "7:38: keys[0].limits[0]: no amount; give one of daily_usd, monthly_usd, total_usd, requests_per_minute, "
        "tokens_per_minute, concurrent",
    ),
    (
        "keys: [{name: a, secret: x, limits: [{concurrent: 1, burst: 2}]}]",
        "7:54: keys[0].limits[0].burst: needs requests_per_minute or tokens_per_minute",
    ),
    (
        "keys: [{name: a, secret: x, limits: [{per: user, daily_usd: 1}]}]",
        "7:39: keys[0].limits[0].per: unknown key 'per'; known: burst, concurrent, daily_usd, hold, monthly_usd, "
        "on_store_error, requests_per_minute, tokens_per_minute, total_usd",
    ),
    ("keys: [{name: a, secret: x}, {name: b, secret: x}]", "7:30: keys[1]: the same secret as keys[0]"),
    (
        "keys: [{name: a, secret: '${NO_KEY}'}]",
        "7:26: keys[0].secret: NO_KEY is not set; set it, or write ${NO_KEY:-DEFAULT}",
    ),
]


@pytest.mark.parametrize(("data", "line"), NO_FILE)
def test_a_file_that_is_no_yaml_is_refused_with_its_place(tmp_path: Path, data: bytes, line: str) -> None:
    assert faults_of(tmp_path, data) == [f"routing.yaml:{line}"]


@pytest.mark.parametrize(("section", "line"), IN_A_SECTION)
def test_a_wrong_section_is_refused_with_its_place(tmp_path: Path, section: str, line: str) -> None:
    assert faults_of(tmp_path, BASE + section) == [f"routing.yaml:{line}"]


def test_all_faults_are_told_at_once_and_in_order(tmp_path: Path) -> None:
    text = BASE.replace("version: 1", "version: 2").replace("main: {kind: openai", "main: {kind: opnai")
    text += "routes: [{name: a, use: [gpt-5]}]\nlimits: [{per: user}]\nservr: {}\n"
    lines = faults_of(tmp_path, text)
    assert [line.split(": ")[0] for line in lines] == [
        f"routing.yaml:{p}" for p in ("1:10", "3:26", "7:26", "8:10", "9:1")
    ]
    assert lines[1] == "routing.yaml:3:26: providers.main: unknown kind 'opnai'; did you mean 'openai'?"


def test_missing_sections_are_named(tmp_path: Path) -> None:
    assert faults_of(tmp_path, "timezone: UTC\n") == [
        f"routing.yaml:1:1: missing key {key!r}" for key in ("version", "plugins", "providers", "models")
    ]


def test_a_missing_plugin_is_told_at_its_place_and_hides_nothing_else(tmp_path: Path) -> None:
    text = BASE.replace("anthropic", "antropic") + "timezone: Mars/X\n"
    assert faults_of(tmp_path, text) == [
        "routing.yaml:2:31: plugins[2]: no plugin 'antropic'",
        "routing.yaml:7:11: timezone: no time zone 'Mars/X'; for example Europe/Zurich",
    ]


def test_a_plugin_named_by_a_variable_is_told_without_its_value(tmp_path: Path) -> None:
    text = BASE.replace("anthropic", '"${OPENAI_API_KEY}"')
    line = "routing.yaml:2:31: plugins[2]: plugin '${OPENAI_API_KEY}' cannot be loaded; see what the variable says"
    assert faults_of(tmp_path, text) == [line]


def test_a_plugin_named_twice_is_refused(tmp_path: Path) -> None:
    text = BASE.replace("anthropic, ", "openai, ")
    assert faults_of(tmp_path, text) == ["routing.yaml:2:31: plugins[2]: 'openai' is named twice"]


def test_a_directory_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").mkdir()
    with pytest.raises(ConfigInvalid, match="a directory, not a file"):
        load(tmp_path / "routing.yaml", {}, find_kinds, table=None)
    with pytest.raises(ConfigInvalid, match="no such file"):
        load(tmp_path / "absent.yaml", {}, find_kinds, table=None)
