"""``fastness diagram``: the architecture, drawn from the code's own tables.

Parties and flows are the tables below; messages come from the frames of the keep protocol, the life of a keep from its
table of states, vouchers from the anchors. The pictures in ``docs`` are this command's output; a test holds them to it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from html import escape

from fastness.errors import UsageError


@dataclass(frozen=True, slots=True)
class Box:
    """One party: its icon and colour say who vouches for it; ``x``, ``y`` its place in the picture."""

    name: str
    icon: str
    lines: tuple[str, ...]
    colour: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Flow:
    """One arrow: what it carries, and who can read it."""

    source: str
    sink: str
    carries: str
    readable: str


WIDTH, HEIGHT = 210, 96
COLOURS = {"tenant": "#2f6f4f", "nobody": "#9c3d2e", "evidence": "#2e5c9c", "vendor": "#6b4c9a"}
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 520" font-family="sans-serif" font-size="13">
<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">\
<path d="M0 0 8 4 0 8z" fill="#444"/></marker></defs>
<rect width="1000" height="520" fill="#fff"/>
<text x="40" y="44" font-size="20" font-weight="bold">Fastness: parties and data flows</text>
<text x="40" y="68" fill="#555">the host carries ciphertext; a workload leaves only on an accepted verdict</text>\
"""
LEGEND = {
    "tenant": "the tenant's own",
    "nobody": "nobody vouches for it",
    "evidence": "its evidence vouches for it",
    "vendor": "pinned roots",
}


def boxes() -> tuple[Box, ...]:
    """The parties of the direct flow."""
    from fastness.host.launch import PLATFORMS
    from fastness.pki.anchors import vendor

    tees = sorted({item.tee for item in vendor().items})
    return (
        Box("tenant", "◆", ("workload, secrets, policy", "challenges, decides, delivers"), "tenant", 40, 150),
        Box("host", "✖", ("launches keeps, carries bytes", f"platforms: {', '.join(PLATFORMS)}"), "nobody", 395, 150),
        Box("keep", "▣", ("keys, log, runtime, sandbox", "measures, then runs"), "evidence", 750, 150),
        Box("vendor", "★", ("roots, certificates, lists", ", ".join(tees)), "vendor", 395, 340),
    )


FLOWS = (
    Flow("tenant", "host", "challenge · release · input", "tenant, keep"),
    Flow("host", "keep", "the same bytes", "tenant, keep"),
    Flow("keep", "host", "evidence · output · end", "tenant, keep"),
    Flow("host", "tenant", "the same bytes", "tenant, keep"),
    Flow("vendor", "tenant", "collateral, signed", "everybody"),
    Flow("vendor", "keep", "vouches for", "–"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``diagram``."""
    parser.add_argument("--format", choices=("mermaid", "svg", "markdown"), default="mermaid", help="what to draw as")


def run(options: argparse.Namespace) -> int:
    """Draws on stdout."""
    sys.stdout.write({"mermaid": parties, "svg": svg, "markdown": markdown}[options.format]())
    return 0


def parties() -> str:
    """Parties and flows as a Mermaid flowchart."""
    lines = ["flowchart LR"]
    for box in boxes():
        text = "<br/>".join((f"{box.icon} {box.name}", *box.lines))
        lines.append(f'    {box.name}["{text}"]:::{box.colour}')
    lines += [
        f'    {flow.source} -- "{flow.carries}<br/>readable by: {flow.readable}" --> {flow.sink}' for flow in FLOWS
    ]
    lines += [f"    classDef {name} stroke:{colour},stroke-width:2px" for name, colour in COLOURS.items()]
    return "\n".join(lines) + "\n"


def life() -> str:
    """The life of a keep as a Mermaid state diagram, from its table of states."""
    from fastness.keep.states import NEXT

    lines = ["stateDiagram-v2", "    [*] --> waiting"]
    for state, following in NEXT.items():
        lines += sorted(f"    {state.value} --> {item.value}" for item in following)
    return "\n".join(lines) + "\n"


def machine() -> str:
    """The inside of a keep's own machine as a Mermaid flowchart: who holds the device, who holds the keys."""
    from fastness.devices import NAMES
    from fastness.devices.exchange import Op

    asked = " · ".join(op.name.lower() for op in Op)
    return (
        "\n".join(
            (
                "flowchart LR",
                '    host["✖ host<br/>QEMU, or what the platform has"]:::nobody',
                "    subgraph keep [▣ keep: measured kernel, command line, root]",
                '    init["PID 1<br/>mounts, drivers, device<br/>sees ciphertext"]:::evidence',
                '    inner["process of the keep, confined<br/>keys, log, workload<br/>reaches no device"]:::evidence',
                "    end",
                f'    chip["★ device<br/>{", ".join(NAMES)}"]:::vendor',
                '    host -- "virtio-serial or vsock: ciphertext" --> init',
                '    init -- "connections, as descriptors" --> inner',
                f'    inner -- "{asked}" --> init',
                '    init -- "evidence, register" --> chip',
                *(f"    classDef {name} stroke:{colour},stroke-width:2px" for name, colour in COLOURS.items()),
            )
        )
        + "\n"
    )


def conversation() -> str:
    """Keep protocol v1 as a Mermaid sequence diagram; every name is a message type of the protocol."""
    from fastness.seal.frames import Type

    steps = (
        ("tenant", "keep", Type.CHALLENGE, "nonce, accepted evidence types"),
        ("keep", "tenant", Type.EVIDENCE, "bound to exporter and keys; transcript signed"),
        ("tenant", "keep", Type.CREDENTIAL, "for the TPM's two keys, where there is a TPM"),
        ("keep", "tenant", Type.ACTIVATED, "what only that TPM could open"),
        ("tenant", "tenant", None, "genuine? bound? accepted by the policy?"),
        ("tenant", "keep", Type.RELEASE, "sealed to the attested key"),
        ("keep", "keep", None, "measure workload and configuration"),
        ("keep", "tenant", Type.MEASURED, "log"),
        ("keep", "tenant", Type.CREDIT, "room for input"),
        ("tenant", "keep", Type.STDIN, "input"),
        ("keep", "tenant", Type.STDOUT, "output"),
        ("keep", "tenant", Type.ENDED, "exit code, trap or limit"),
    )
    lines = ["sequenceDiagram", "    participant tenant", "    participant host", "    participant keep"]
    lines.append("    tenant->>keep: TLS 1.3 through the host, which sees ciphertext")
    for source, sink, kind, text in steps:
        name = f"{kind.name.lower()}: " if kind is not None else ""
        lines.append(f"    {source}->>{sink}: {name}{text}")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The page ``docs/architecture.md``."""
    legend = "\n".join(f"* {colour}: {text}" for colour, text in LEGEND.items())
    parts = (
        "# Architecture",
        "Drawn by `fastness diagram --format markdown` from the code's own tables; do not edit.",
        "![parties and data flows](architecture.svg)",
        f"Colours say who vouches:\n\n{legend}",
        f"## Parties and data flows\n\n```mermaid\n{parties()}```",
        f"## One conversation (keep protocol v1)\n\n```mermaid\n{conversation()}```",
        f"## Inside a keep's machine\n\n```mermaid\n{machine()}```",
        f"## The life of a keep\n\n```mermaid\n{life()}```",
    )
    return "\n\n".join(parts) + "\n"


def svg() -> str:
    """Parties and flows as a self-contained SVG."""
    found = {box.name: box for box in boxes()}
    out = [HEAD]
    for flow in FLOWS:
        out += _arrow(flow, found)
    for box in found.values():
        out += _box(box)
    for index, (name, text) in enumerate(LEGEND.items()):
        x = 40 + 235 * index
        out.append(
            f'<rect x="{x}" y="484" width="14" height="14" fill="none" stroke="{COLOURS[name]}" stroke-width="3"/>'
        )
        out.append(f'<text x="{x + 22}" y="496" fill="#333">{escape(text)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _box(box: Box) -> list[str]:
    colour = COLOURS[box.colour]
    frame = f'width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fafafa" stroke="{colour}" stroke-width="3"'
    title = f'font-size="16" font-weight="bold" fill="{colour}"'
    rows = [
        f'<rect x="{box.x}" y="{box.y}" {frame}/>',
        f'<text x="{box.x + 14}" y="{box.y + 28}" {title}>{box.icon} {escape(box.name)}</text>',
    ]
    for index, line in enumerate(box.lines):
        size = 13 if len(line) < 30 else 10
        place = f'x="{box.x + 14}" y="{box.y + 54 + 22 * index}"'
        rows.append(f'<text {place} font-size="{size}" fill="#333">{escape(line)}</text>')
    return rows


def _arrow(flow: Flow, found: dict[str, Box]) -> list[str]:
    if flow.source not in found or flow.sink not in found:
        raise UsageError(f"a flow names an unknown party: {flow.source} to {flow.sink}")
    one, two = found[flow.source], found[flow.sink]
    if one.y == two.y:
        right = one.x < two.x
        y = one.y + (30 if right else 66)
        start, end = (one.x + WIDTH, two.x) if right else (one.x, two.x + WIDTH)
        label = (min(start, end) + 6, y - 8 if right else y + 18)
        points = (start, y, end, y)
    else:
        left = two.x < one.x
        points = (one.x + (20 if left else WIDTH - 20), one.y, two.x + (WIDTH - 30 if left else 30), two.y + HEIGHT)
        label = (points[2] + (-150 if left else 20), points[3] + 60)
    x1, y1, x2, y2 = points
    dash = ' stroke-dasharray="5 4"' if flow.readable == "–" else ""
    return [
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#444" stroke-width="1.6"{dash} marker-end="url(#a)"/>',
        f'<text x="{label[0]}" y="{label[1]}" font-size="10.5" fill="#222">{escape(flow.carries)}</text>',
    ]
