"""Draws docs/performance.svg from the figures that the ingest benchmark left.

`python -m tests.benchmarks.ingest --keep` measures and keeps them in tests/benchmarks/ingest.json;
`python -m tests.benchmarks.chart` draws. Nothing else is needed to look at it than a browser.
"""

import json
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FIGURES = HERE / "ingest.json"
CHART = HERE.parent.parent / "docs" / "performance.svg"

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 720, 190, 90, 18, 14, 56
_STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#52606D}.head{font-size:16px;font-weight:600}"
    ".ours{fill:#007580}.other{fill:#A3B1BF}"
)


def chart(figures: list[dict[str, Any]]) -> str:
    """An SVG. figures: {"what", "rate" (0: as fast as it goes), "ours_us", "other_us"}."""
    longest = max(max(f["ours_us"], f["other_us"]) for f in figures)
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    height = _TOP + len(figures) * (2 * _BAR + _GAP) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(_summary(figures))}">',
        f"<style>{_STYLE}</style>",
        '<text class="head" x="0" y="18">CPU time a message, microseconds (less is better)</text>',
        f'<rect class="ours" x="0" y="30" width="{_BAR}" height="12"/>'
        '<text x="24" y="41">Berrygate, durable, with history and all stages</text>',
        f'<rect class="other" x="380" y="30" width="{_BAR}" height="12"/>'
        '<text x="404" y="41">the usual script, or plain paho</text>',
    ]
    for number, figure in enumerate(figures):
        y = _TOP + number * (2 * _BAR + _GAP)
        parts.append(f'<text x="0" y="{y + _BAR + 5}">{escape(_label(figure))}</text>')
        for place, kind in enumerate(("ours", "other")):
            value, top = figure[f"{kind}_us"], y + place * _BAR
            parts.append(
                f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{value * scale:.1f}" '
                f'height="{_BAR - 2}"/>'
                f'<text x="{_LEFT + value * scale + 6:.1f}" y="{top + 13}">{value:.1f}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


def _label(figure: dict[str, Any]) -> str:
    rate = f"{figure['rate']:,}/s" if figure["rate"] else "as fast as it goes"
    return f"{figure['what']}, {rate}"


def _summary(figures: list[dict[str, Any]]) -> str:
    each = [f"{_label(f)}: {f['ours_us']:.1f} against {f['other_us']:.1f}" for f in figures]
    return "CPU time a message in microseconds. " + "; ".join(each)


def main() -> None:
    """Draw."""
    CHART.write_text(chart(json.loads(FIGURES.read_text())))


if __name__ == "__main__":
    main()
