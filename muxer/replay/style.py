"""Pages of HTML that need nothing else: what stands around their body, and how they look by day and by night."""

from collections.abc import Sequence

from muxer.replay.markup import Markup, joined, tag


def whole_page(title: str, body: Sequence[Markup]) -> str:
    """The file with that body."""
    head = joined(
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        tag("style", Markup(_STYLE)),
    )
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', tag('main', *body)), lang='en')}\n"


_STYLE = """
:root { color-scheme: light dark;
  --paper: #fbfbfa; --card: #ffffff; --ink: #1d2430; --soft: #5b6574; --rule: #e3e6ea;
  --before: #8b95a5; --after: #2563eb; --cheaper: #0f8a5f; --dearer: #c2570c; --refused: #c81e3a; --stays: #aeb6c2; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #12161c; --card: #1a2028; --ink: #e6eaf0; --soft: #9aa5b4; --rule: #2c343f;
  --before: #7f8a9b; --after: #6aa2ff; --cheaper: #3ecf97; --dearer: #f59b54; --refused: #ff6b81; --stays: #55606e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 12px; }
p { margin: 0 0 8px; } .soft { color: var(--soft); overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 18px 20px; margin: 18px 0; overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 14px; margin: 22px 0 4px; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; display: block; }
.over { border-left: 4px solid var(--refused); }
.good { color: var(--cheaper); } .bad { color: var(--dearer); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 10px; padding: 0; list-style: none;
  color: var(--soft); font-size: 13px; }
.legend li::before { content: ""; display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  margin-right: 6px; background: var(--swatch); }
svg { display: block; width: 100%; min-width: 620px; height: auto; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .tick { fill: var(--soft); font-size: 12px; } svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
.grid { stroke: var(--rule); } .node { fill: var(--ink); opacity: .55; }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; } .line.before { stroke: var(--before); }
.line.after { stroke: var(--after); } .bar.before { fill: var(--before); } .bar.after { fill: var(--after); }
.band { opacity: .5; } .band:hover { opacity: .85; } .stays { fill: var(--stays); } .cheaper { fill: var(--cheaper); }
.dearer { fill: var(--dearer); } .refused { fill: var(--refused); } .same { fill: var(--after); }
.wide { overflow-x: auto; margin-top: 12px; }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--soft); }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 5px 10px; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; font-size: 13px; }
caption { text-align: left; color: var(--soft); padding: 4px 10px; }
td:not(.n), th:not(.n) { min-width: 88px; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
@media print { section, .tile { break-inside: avoid; } }
"""
