"""The page's style sheet: one column of text, system typefaces, light and dark by the reader's own setting."""

from __future__ import annotations

from swag_ray.report.page.colours import COLOURS, DARK_COLOURS


def _variables(tones: dict[str, str]) -> str:
    return " ".join(f"--{tone}: {colour};" for tone, colour in tones.items())


_RULES = """
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
h1 { font-size: 1rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; line-height: 1.3; font-weight: 600; margin: 3.2rem 0 .7rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 1.8rem 0 .5rem; }
p, li { max-width: 46rem; }
p { margin: .5rem 0; }
.about, .note { color: var(--quiet); font-size: .92rem; overflow-wrap: anywhere; }
.about { margin: .1rem 0 0; }
.verdict { font-size: clamp(1.25rem, 1rem + 1.2vw, 1.75rem); line-height: 1.36; margin: 1.6rem 0 0; max-width: 52rem;
  text-wrap: pretty; }
.verdict + .verdict { margin-top: 1rem; }
.verdict + p { margin-top: 1rem; }
.verdict strong { font-weight: 600; }
.warnings { border-left: 4px solid var(--anomaly); padding-left: 1.1rem; margin-top: 2.2rem; }
.warnings h2 { margin-top: 0; }
.warnings ul { margin: 0; padding-left: 1.1rem; }
.warnings li + li { margin-top: .4rem; }
.warnings li { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .5rem 0 1.4rem; }
table { border-collapse: collapse; font-size: .9rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
th { font-weight: 400; text-align: right; color: var(--quiet); vertical-align: bottom; }
td { text-align: right; }
th, td { padding: .32rem .5rem; min-width: 2.6rem; }
th:first-child { text-align: left; padding-left: 0; color: var(--ink); }
thead th:first-child { color: var(--quiet); }
td.text, th.text { text-align: left; }
.arms tbody tr > * { vertical-align: top; }
.arms td.text { white-space: normal; min-width: 16rem; max-width: 34rem; }
th.short, tbody td { white-space: nowrap; }
th.group { white-space: nowrap; text-align: center; border-bottom: 1px solid var(--line); }
thead tr:last-child > * { border-bottom: 1px solid var(--quiet); max-width: 7rem; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tr.strong > * { font-weight: 650; color: var(--ink); }
.scroll th:first-child, .scroll thead td:first-child { position: sticky; left: 0; background: var(--paper); }
.tall { max-height: 36rem; overflow-y: auto; }
.tall thead th, .tall thead td { position: sticky; top: 0; background: var(--paper); z-index: 1;
  box-shadow: inset 0 -1px var(--quiet); }
.tall thead th:first-child { z-index: 2; }
th button { all: unset; cursor: pointer; }
th button:hover, th button:focus-visible { color: var(--ink); text-decoration: underline; }
th[aria-sort] { color: var(--ink) !important; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
.errors li { overflow-wrap: anywhere; margin-top: .4rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1.6rem 2.6rem;
  margin: 1.2rem 0; align-items: start; }
figure { margin: 0; }
.plot { max-width: 36rem; }
.plots.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: 1.4rem 2rem; }
.small .plot { max-width: 24rem; }
figcaption { color: var(--quiet); font-size: .88rem; line-height: 1.45; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: inherit !important; }
.matrices { display: flex; flex-wrap: wrap; gap: 1.6rem 2.4rem; margin-top: 1rem; }
.matrices figcaption { color: var(--ink); margin-bottom: .3rem; }
.matrix th:first-child { color: var(--quiet); }
.matrix tbody tr > * { border: 0; vertical-align: middle; }
.matrix thead tr:last-child > * { border: 0; }
.matrix tbody td { min-width: 5.6rem; padding: .6rem; text-align: center; border: 2px solid var(--paper); }
.matrix .right { background: color-mix(in srgb, var(--normal) calc(var(--share) * .45), var(--paper)); }
.matrix .wrong { background: color-mix(in srgb, var(--anomaly) calc(var(--share) * .45), var(--paper)); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); gap: 1.4rem 2rem; }
.cards.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 14rem), 1fr)); gap: 1rem 1.4rem; }
.pairs .strip { max-width: 22rem; }
.pairs + p { margin-top: 1.3rem; }
.strip { display: grid; grid-auto-columns: 1fr; grid-auto-flow: column; gap: 3px;
  margin-bottom: .4rem; max-width: 32rem; }
.strip img { display: block; width: 100%; height: auto; background: #000; }
.card strong { color: var(--ink); font-weight: 600; }
.card.wrong strong { color: var(--anomaly); }
.name { overflow-wrap: anywhere; font-size: .82rem; }
.range { white-space: nowrap; }
.scale { display: inline-block; width: 6rem; height: .65rem; vertical-align: baseline; border-radius: 2px; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .35rem 1.4rem;
  font-size: .9rem; margin: .8rem 0; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
dd ul { margin: 0; padding: 0; list-style: none; }
dd ul ul { padding-left: 1rem; }
.key { color: var(--quiet); }
ol { padding-left: 1.3rem; }
ol li + li { margin-top: .4rem; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
details { margin-top: 1rem; font-size: .9rem; }
summary { cursor: pointer; }
pre { overflow-x: auto;
  font: .82rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
@media (max-width: 34rem) {
  main { padding: 1.4rem 1rem 3rem; }
  h2 { margin-top: 2.4rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .6rem; }
  .scroll th:first-child { max-width: 8.5rem; overflow-wrap: break-word; }
  .matrices { gap: 1.4rem; }
  .arms td.text { min-width: 10.5rem; }
  .cards.pairs { grid-template-columns: 1fr 1fr; }
}
@media print {
  @page { margin: 15mm 13mm; }
  html { font-size: 9.5pt; }
  main { max-width: none; padding: 0; }
  h2 { margin-top: 1.6rem; break-after: avoid; }
  h3, h2 + p, .note { break-after: avoid; }
  .scroll { overflow: visible; max-height: none; }
  table { font-size: 7.6pt; }
  th, td { padding: .25rem .3rem; min-width: 0; }
  .plots { grid-template-columns: 1fr 1fr; gap: 1rem 1.4rem; }
  .cards { grid-template-columns: 1fr 1fr; }
  .cards.pairs { grid-template-columns: repeat(4, 1fr); }
  figure, tr, .warnings { break-inside: avoid; }
  .matrix td, .scale, .strip img { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def style_sheet() -> str:
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK_COLOURS)} }} }}"
    return f":root {{ {_variables(COLOURS)} }}\n{dark}\n{_RULES.strip()}\n"
