"""The style sheet of a report page: light and dark by the reader's choice, and print."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --window: #f1f3f7; --surface: #ffffff; --raised: #f8f9fb; --border: #d5dae3; --text: #1b2130; --muted: #566073;
  --accent: #3355cc; --good: #1f7a3d; --warning: #8f5a00; --bad: #c0242f; --grid: #e3e7ee;
  --s0: #0072b2; --s1: #c75300; --s2: #00855f; --s3: #a8458a; --s4: #2b8cc4; --s5: #946c00; --s6: #5c4fb8; --s7: #5f6673;
}
@media (prefers-color-scheme: dark) {
  :root {
    --window: #12151c; --surface: #191d26; --raised: #222733; --border: #323949; --text: #e7eaf1; --muted: #9da7ba;
    --accent: #7f9fff; --good: #5ed38a; --warning: #f0b849; --bad: #ff7b7f; --grid: #2a303d;
    --s0: #56b4e9; --s1: #f0894a; --s2: #2fc89c; --s3: #e393c4; --s4: #f0e442; --s5: #e6a21a; --s6: #a99bff; --s7: #b9c0cd;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--window); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", Roboto,
  "Noto Sans", "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; }
main { max-width: 1360px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 36px 0 10px; }
h3 { font-size: 14px; margin: 0 0 8px; }
p { margin: 0 0 8px; max-width: 90ch; overflow-wrap: anywhere; }
.muted, figcaption { color: var(--muted); }
.small { font-size: 13px; }
.card { background: var(--surface); border: 1px solid var(--border); border-radius: 8px; padding: 14px 16px; }
.row { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); }
.card + details { margin-top: 12px; }
.tiles { display: grid; gap: 10px; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); margin: 18px 0; }
.tile { background: var(--surface); border: 1px solid var(--border); border-radius: 8px; padding: 9px 12px; }
.tile dt { color: var(--muted); font-size: 12.5px; }
.tile dd { margin: 0; font-size: 18px; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
dl { margin: 0; }
code, .num, .mono, .shape { font-family: ui-monospace, "SF Mono", "Cascadia Mono", Consolas, "DejaVu Sans Mono", monospace;
  font-size: 12.5px; font-variant-ligatures: none; }
code, td { unicode-bidi: isolate; }
code { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; background: var(--surface); font-size: 13px; }
.full { width: 100%; }
th, td { padding: 4px 10px; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: middle; }
th { color: var(--muted); font-weight: 600; white-space: nowrap; background: var(--raised); }
td.num, th.num { text-align: right; white-space: nowrap; }
.shape { white-space: nowrap; }
td.name { min-width: 16ch; max-width: 44ch; overflow-wrap: anywhere; }
tbody tr:last-child td { border-bottom: 0; }
.bad { color: var(--bad); font-weight: 600; }
.warning { color: var(--warning); }
ul.remarks { list-style: none; margin: 0; padding: 0; }
ul.remarks > li { padding: 7px 0 7px 28px; position: relative; border-bottom: 1px solid var(--grid);
  overflow-wrap: anywhere; }
ul.remarks > li:last-child { border-bottom: 0; }
ul.remarks .sign { position: absolute; left: 2px; font-weight: 700; }
.note .sign { color: var(--muted); }
li.bad, li.warning { color: inherit; font-weight: inherit; }
li.bad .sign { color: var(--bad); }
li.warning .sign { color: var(--warning); }
.places { display: inline; }
details { background: var(--surface); border: 1px solid var(--border); border-radius: 8px; margin: 0 0 12px; }
details > *:not(summary) { margin: 0 16px 14px; max-width: none; }
summary { cursor: pointer; padding: 10px 16px; font-weight: 600; }
summary .muted { font-weight: 400; }
li details { border: 0; margin: 0; background: none; }
li summary { padding: 2px 0; font-weight: 400; color: var(--muted); }
li details > *:not(summary) { margin: 0; }
svg.chart { width: 100%; height: auto; display: block; }
svg text { fill: var(--muted); font-size: 12px; font-variant-numeric: tabular-nums; }
svg text.bad { fill: var(--bad); font-size: 15px; font-weight: 700; }
svg .grid { stroke: var(--grid); fill: none; }
svg .epoch { stroke: var(--border); stroke-dasharray: 2 3; fill: none; }
svg .axis { stroke: var(--muted); fill: none; }
svg .line path { fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linejoin: round; }
svg .line circle { fill: currentColor; }
svg.hist { display: block; fill: var(--s0); border-bottom: 1px solid var(--border); }
svg.hist .zero { fill: var(--s1); }
.s0 { color: var(--s0); } .s1 { color: var(--s1); } .s2 { color: var(--s2); } .s3 { color: var(--s3); }
.s4 { color: var(--s4); } .s5 { color: var(--s5); } .s6 { color: var(--s6); } .s7 { color: var(--s7); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 6px 0 0; padding: 0; list-style: none; font-size: 13px; }
.legend .key { font-weight: 800; }
.legend .label { color: var(--text); }
figure { margin: 0; }
figure img { display: block; max-width: 100%; height: auto; border: 1px solid var(--border); border-radius: 6px; }
figcaption { font-size: 13px; margin: 0 0 6px; }
.pairs { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; font-size: 13.5px; }
.pairs dt { color: var(--muted); }
.pairs dd { margin: 0; overflow-wrap: anywhere; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  :root {
    color-scheme: light;
    --window: #ffffff; --surface: #ffffff; --raised: #f8f9fb; --border: #d5dae3; --text: #1b2130; --muted: #566073;
    --bad: #c0242f; --warning: #8f5a00; --grid: #e3e7ee;
    --s0: #0072b2; --s1: #c75300; --s2: #00855f; --s3: #a8458a; --s4: #2b8cc4; --s5: #946c00; --s6: #5c4fb8; --s7: #5f6673;
  }
  main { max-width: none; padding: 0; }
  body { font-size: 12px; }
  details::details-content { content-visibility: visible; height: auto; }
  .scroll { overflow: visible; }
  tr, figure, .card, .tile { break-inside: avoid; }
  h2, summary { break-after: avoid; }
  svg.hist, svg.chart { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
