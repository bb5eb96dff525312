"""A routing.yaml that works offline, and the result of one command."""

from msgspec import Struct

ROUTING = """\
version: 1
plugins: [heuristics, openai, sqlite]
providers:
  openai: {kind: openai, api_key: "${OPENAI_API_KEY}"}
  local: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
models:
  big: {provider: openai, name: gpt-6.1-sol}
  small: {provider: local, name: tiny, price_usd_per_million: {input: 0.1, output: 0.5}}
  unpriced: {provider: local, name: mystery}
  old: {provider: openai, name: gpt-3.5-turbo}
  any: {use: [small, big]}
routes:
  - {name: code, when: "code >= 0.2", use: [big]}
  - {name: default, use: [small]}
limits: [{per: user, daily_usd: 1, hold: expected}]
"""


class Ran(Struct, frozen=True):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[list[str]]:
        """The words of each line printed."""
        return [line.split() for line in self.out.splitlines()]
