#!/usr/bin/env python3
"""Medians of bench.sh results as one SVG: plot.py FILE.jsonl [...] > plot.svg. The same results give the same bytes.

One panel per scenario with a bar per broker; the longest bar of a panel is its largest median, the whisker goes from the
lowest to the highest run. What is compared is the first column of table.py."""
import sys, statistics as st
from xml.sax.saxutils import escape
from table import columns, num, read, values

COLOURS = {"ours": "#0b6e99", "null": "#9aa0a6"}
PEERS = ["#c9a227", "#b5651d", "#7a9e3b", "#8e6aa8", "#b04a5a", "#4f8a8b"]
LESS_IS_BETTER = {"p50 us", "RSS B/conn"}
UNITS = {"out/CPU-s": "deliveries per CPU-second", "conn/CPU-s": "connects per CPU-second", "pub/CPU-s": "publishes per CPU-second",
         "store/CPU-s": "stores per CPU-second", "pub/s": "publishes per second", "p50 us": "µs, median latency at 5,000 messages/s",
         "RSS B/conn": "bytes of memory per connection"}
PANELS_ACROSS, WIDTH, LEFT, BAR, ROW, HEAD, GAP = 2, 470, 70, 230, 17, 40, 16

def bars(results, labels, extract):
    """[(broker, median, lowest, highest, the share of null)]; None for a median where no run gave one."""
    found = []
    for b in labels:
        if b not in results: continue
        vs = values(results[b], extract)
        found.append((b, st.median(vs), min(vs), max(vs)) if vs else (b, None, None, None))
    null = dict((b, m) for b, m, _, _ in found).get("null")
    return [(*bar, bar[1] / null if null and bar[1] is not None else None) for bar in found]

def panel(x, y, case, mode, heading, found, colour):
    hint = " (less is better)" if heading in LESS_IS_BETTER else ""
    out = [f'<text x="{x}" y="{y + 14}" class="case">{escape(case)}</text>',
           f'<text x="{x}" y="{y + 29}" class="unit">{escape(UNITS.get(heading, heading) + hint)}, {escape(mode)}</text>']
    longest = max((high for _, m, _, high, _ in found if m is not None), default=0) or 1
    for i, (broker, median, low, high, share) in enumerate(found):
        top = y + HEAD + i * ROW
        out.append(f'<text x="{x + LEFT - 6}" y="{top + 11}" class="name">{escape(broker)}</text>')
        if median is None:
            out.append(f'<text x="{x + LEFT}" y="{top + 11}" class="value">failed</text>')
            continue
        at = lambda v: x + LEFT + BAR * v / longest
        out.append(f'<rect x="{x + LEFT}" y="{top}" width="{at(median) - x - LEFT:.1f}" height="{ROW - 4}" fill="{colour[broker]}"/>')
        if high > low:
            out.append(f'<path d="M{at(low):.1f} {top + 6.5}H{at(high):.1f}" class="spread"/>')
        of_null = f", {100 * share:.0f} % of null" if share is not None and broker != "null" else ""
        out.append(f'<text x="{at(high) + 5:.1f}" y="{top + 11}" class="value">{num(median)}{of_null}</text>')
    return out

def main(files):
    rows, labels = read(files)
    peers = [b for b in labels if b not in COLOURS]
    colour = {**COLOURS, **{b: PEERS[i % len(PEERS)] for i, b in enumerate(peers)}}
    out, y, keys = [], GAP, list(rows)
    for line in range(0, len(keys), PANELS_ACROSS):
        height = 0
        for i, key in enumerate(keys[line:line + PANELS_ACROSS]):
            heading, extract = columns(key[1])[0]
            found = bars(rows[key], labels, extract)
            out += panel(GAP + i * (WIDTH + GAP), y, key[1], key[0], heading, found, colour)
            height = max(height, HEAD + ROW * len(found))
        y += height + GAP
    wide = PANELS_ACROSS * (WIDTH + GAP) + GAP
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {y}" width="{wide}" height="{y}" font-family="sans-serif">')
    print("<style>text{font-size:11px;fill:#333}.case{font-size:14px;font-weight:bold}.unit{fill:#666}.name{text-anchor:end}"
          ".spread{stroke:#222;stroke-width:1.5}</style>")
    print(f'<rect width="{wide}" height="{y}" fill="#fff"/>')
    print("\n".join(out))
    print("</svg>")

if __name__ == "__main__":
    main(sys.argv[1:])
