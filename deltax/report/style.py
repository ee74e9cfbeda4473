"""Colours and style sheet of the page.

One colour for each method and each candidate, in every plot, table and picture;
they were chosen to stay apart for the colour-blind (simulated). Plots are drawn
in the light colours, which `svg.py` then turns into the style sheet's
variables, so that they follow the reader's light or dark scheme.
"""

CANDIDATES = 6  # colours; a seventh candidate of a layer has the first again

LIGHT = {
  'paper': '#fdfdfc',
  'ink': '#1c2127',
  'muted': '#5f6873',
  'rule': '#dadee3',
  'teacher': '#c06a00',
  'delta': '#0b66ad',
  'candidate0': '#b8408a',  # the same in the dark: it is also in a picture
  'candidate1': '#57a836',
  'candidate2': '#7cc0ee',
  'candidate3': '#d6bd1e',
  'candidate4': '#3d3f8f',
  'candidate5': '#5c4033',
}
DARK = {
  'paper': '#15181c',
  'ink': '#e8eaed',
  'muted': '#9ba5b0',
  'rule': '#343a41',
  'teacher': '#f0a03c',
  'delta': '#58a8e8',
  'candidate0': '#b8408a',
  'candidate1': '#7ec65a',
  'candidate2': '#a4dcff',
  'candidate3': '#f0dc5a',
  'candidate4': '#7478d6',
  'candidate5': '#c9a58f',
}


def colour(name: str) -> str:
  """The style sheet's name of a colour, to write into a style attribute."""
  return f'var(--{name})'


def _variables(colours: dict[str, str]) -> str:
  return ' '.join(f'--{name}: {value};' for name, value in colours.items())


SHEET = (
  f"""
:root {{ color-scheme: light dark; {_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
@media print {{ :root {{ {_variables(LIGHT)} }} }}
"""
  + """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 3rem 1.25rem 5rem; max-width: 72rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue",
    "Noto Sans", "Liberation Sans", sans-serif;
}
h1, h2 { line-height: 1.25; font-weight: 600; text-wrap: balance; }
h1 { font-size: 1rem; color: var(--muted); margin: 0 0 .75rem; }
h2 { font-size: 1.25rem; margin: 0 0 .5rem; }
section { margin-top: 3.5rem; }
p { max-width: 44rem; margin: .5rem 0; }
.lead {
  font-size: clamp(1.3rem, 3vw, 1.8rem); line-height: 1.35; max-width: 54rem;
  margin: 0 0 1rem; text-wrap: balance;
}
.about, .notes { color: var(--muted); font-size: .9rem; }
figure { margin: 1.25rem 0 0; }
.teacher { color: var(--teacher); }
.delta { color: var(--delta); }
.scroll { overflow-x: auto; padding-bottom: .25rem; }
table {
  border-collapse: collapse; font-variant-numeric: tabular-nums lining-nums;
  font-size: .95rem; line-height: 1.35; margin-top: 1rem;
}
th, td { padding: .34rem .8rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; }
th { font-weight: 500; }
tr > :first-child { position: sticky; left: 0; background: var(--paper); }
thead th { color: var(--muted); font-size: .85rem; vertical-align: bottom; }
thead tr:last-child { border-bottom: 1px solid var(--ink); }
tbody tr { border-bottom: 1px solid var(--rule); }
tbody.total tr { border-bottom: 0; font-weight: 600; }
tbody.total th { font-weight: 600; }
.left, tbody th { text-align: left; }
small { color: var(--muted); font-size: .85em; }
.swatch {
  display: inline-block; width: .8em; height: .8em; margin-right: .5em;
  border-radius: 2px; vertical-align: -.05em;
  box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--ink) 25%, transparent);
}
svg.marks { display: block; width: 13.125rem; height: 1rem; }
th.axis > span { display: inline-block; width: 33.3%; text-align: center; }
th.axis > span:first-child { text-align: left; }
th.axis > span:last-child { text-align: right; }
.ramp {
  display: inline-block; width: 8rem; height: .8em; vertical-align: -.05em;
  background: linear-gradient(to right, transparent, var(--candidate0));
  border: 1px solid var(--rule);
}
.legend {
  display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .75rem 0;
  padding: 0; list-style: none; font-size: .9rem;
}
svg.plot { display: block; width: 100%; height: auto; }
svg.plot text { font-family: inherit !important; }
svg.plot g[id*=bar]:hover path { opacity: .65; }
.panels {
  display: grid; gap: 1.25rem;
  grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr));
}
.panels.small {
  grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr));
}
.split { display: grid; gap: 1.25rem; }
.split > * { min-width: 0; }
@media (min-width: 60rem) { .split { grid-template-columns: 2fr 1fr; } }
.film { display: grid; gap: 3px; font-size: .8rem; line-height: 1.3; }
.film > * { min-width: 0; }
.film .row, .film .corner {
  position: sticky; left: 0; z-index: 1; background: var(--paper);
  color: var(--muted); align-self: stretch; display: flex; align-items: center;
  padding-right: .5rem;
}
.film .caption {
  color: var(--muted); align-self: end; padding: 0 .25rem .25rem 0;
}
.film img { display: block; width: 100%; height: auto; }
details { margin-top: 1rem; }
summary { cursor: pointer; color: var(--muted); font-size: .9rem; }
.notes { padding-left: 1.1rem; max-width: 44rem; }
"""
)
