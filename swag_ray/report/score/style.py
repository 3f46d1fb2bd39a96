"""What the page of scored images adds to the style sheet of all pages."""

STYLE = """
main { max-width: 100rem; }
[hidden] { display: none !important; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 2rem; align-items: baseline; margin: 1.2rem 0 .4rem; }
.legend label, #filter label { white-space: nowrap; cursor: pointer; }
.legend .note { margin: 0; max-width: 60rem; }
#filter { position: sticky; top: 0; z-index: 3; background: var(--paper); display: flex; flex-wrap: wrap;
  gap: .5rem 1.2rem; align-items: center; padding: .7rem 0; border-bottom: 1px solid var(--line); margin-top: 1.2rem; }
#filter input[type=search] { font: inherit; padding: .3rem .5rem; width: min(100%, 22rem); color: inherit;
  background: transparent; border: 1px solid var(--quiet); border-radius: 3px; }
#filter output { color: var(--quiet); font-variant-numeric: tabular-nums; }
.films { list-style: none; margin: 1.6rem 0 0; padding: 0; display: grid; gap: 2.2rem 2.4rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); }
.film { max-width: none; margin: 0 !important; min-width: 0; scroll-margin-top: 5rem; content-visibility: auto;
  contain-intrinsic-size: auto 24rem; }
.film article { display: grid; grid-template: auto 1fr / minmax(0, 20rem) minmax(0, 1fr); gap: .8rem 1.2rem; }
.film article > :first-child { grid-row: 1 / 3; align-self: start; }
.zoom { all: unset; display: block; }
.scripted .zoom { cursor: zoom-in; }
.zoom:focus-visible, .films :focus-visible { outline: 3px solid var(--normal); outline-offset: 2px; }
.layers { display: block; position: relative; background: #000; }
.layers img { display: block; width: 100%; height: auto; }
.layers .heat { position: absolute; inset: 0; height: 100%; }
body:has(#heat:not(:checked)) .heat { visibility: hidden; }
.none { margin: 0; padding: 1rem; border: 1px dashed var(--line); color: var(--quiet); font-size: .9rem; }
.words { min-width: 0; }
.words h2 { font-size: 1rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
.rank { color: var(--quiet); font-weight: 400; font-variant-numeric: tabular-nums; }
.mark { color: var(--anomaly); font-weight: 600; white-space: nowrap; font-size: .88rem; }
.mark::before { content: "\\25CF  "; }
.mark.quiet { color: var(--fourth); }
.strange { font-size: .9rem; }
.doubt { border-left: 4px solid var(--anomaly); padding-left: 1.1rem; }
.words dl, dialog dl { display: block; margin: .3rem 0; line-height: 1.4; }
.words dl div, dialog dl div { display: flex; gap: .6rem; }
.words dt, dialog dt { flex: 0 0 5.5rem; overflow-wrap: anywhere; }
.words dd, dialog dd { margin: 0; font-variant-numeric: tabular-nums; }
.words .name, .words dd, .words h2 { max-height: 6.5em; overflow-y: auto; }
.words .name { margin: .15rem 0 0; }
.id { color: var(--quiet); }
.nearest { list-style: none; margin: 0; padding: 0; display: grid;
  grid-template-columns: repeat(3, minmax(0, 7.5rem)); gap: .8rem; font-size: .82rem; line-height: 1.35; }
.nearest li { margin: 0; min-width: 0; }
.nearest img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #000; }
.nearest span { display: block; }
.distance { color: var(--quiet); font-variant-numeric: tabular-nums; }
.nearest .name { max-height: 4em; overflow: hidden; }
.listed td.text { white-space: normal; overflow-wrap: anywhere; min-width: 8rem; max-width: 40rem; }
.listed td:first-child { padding-left: 0; }
.listed th:first-child { max-width: none; font-variant-numeric: tabular-nums; }
dialog { width: 100%; height: 100%; max-width: none; max-height: none; border: 0; padding: .8rem 1rem; margin: 0;
  background: var(--paper); color: var(--ink); }
dialog[open] { display: flex; flex-direction: column; gap: .5rem; }
dialog header { display: flex; flex-wrap: wrap; gap: .4rem .8rem; align-items: center; }
dialog h2 { margin: 0; font-size: 1rem; flex: 1 1 12rem; overflow-wrap: anywhere; max-height: 3.9em; overflow-y: auto; }
dialog button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--quiet);
  border-radius: 3px; padding: .25rem .7rem; cursor: pointer; }
.facts dl { display: flex; flex-wrap: wrap; gap: .1rem 1.4rem; max-height: 6em; overflow-y: auto; }
.facts dt { flex: none; }
.stage { flex: 1 1 0; min-height: 0; overflow: auto; display: grid; place-items: center; background: #000;
  container-type: size; cursor: zoom-in; }
.stage .layers { width: min(100cqw, 100cqh * var(--ratio)); }
.stage.near { display: block; cursor: zoom-out; }
.stage.near .layers { width: calc(2.5 * min(100cqw, 100cqh * var(--ratio))); }
@media (max-width: 34rem) {
  .film article { grid-template: none / minmax(0, 1fr); }
  .film article > :first-child { grid-row: auto; }
  #filter { position: static; }
}
@media print {
  .films { grid-template-columns: 1fr 1fr; }
  .film { content-visibility: visible; break-inside: avoid; }
  .film article { grid-template-columns: 2fr 3fr; }
  .layers img, .nearest img { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  #filter, dialog, .legend label { display: none; }
  .words .name, .words dd, .words h2 { max-height: none; }
}
"""
