"""``fastness help TOPIC``: a few words on what options cannot say."""

from __future__ import annotations

import argparse

from fastness.errors import UsageError

TOPICS = {
    "exit-codes": """\
0 accepted; 1 refused by policy; 2 usage; 3 malformed; 4 not genuine; 5 collateral missing or stale;
6 remote refused or unreachable; 7 keep failed; 70 a bug of ours; 130 interrupted.
run and deploy pass the workload's own code through and add 100 to these (101 refused …).""",
    "policy": """\
A policy is TOML: [[rule]] with effect refuse or accept, when and require over claims. Refusals override, nothing is
accepted by default, what cannot be told refuses. --policy takes strict, default, development, or a file.
See `fastness policy show default` and docs/policy.md.""",
    "anchors": """\
Silicon vendors' roots are built in. For a TEE without one (CCA, TPM, nil) name its root: --anchors FILE with a
certificate or public key, --anchors cca:FILE for one TEE only, --anchors nil for this machine's software root.
`fastness host anchors` prints the root of a host.""",
    "secrets": """\
--secret NAME=@FILE gives the workload a file /secrets/NAME, or an environment variable where the manifest says
[secrets] NAME = { env = "VARIABLE" }. Secrets are sealed to the attested keep; they never stand on a command line.""",
    "platforms": """\
nil is a sandboxed process with simulated evidence: it shows the flow and protects nothing. `fastness platforms` says
what this machine offers besides, what is missing, and what to do about it; `fastness platforms --self-test` runs what
can be run here (docs/self-test.md). deploy never falls back to another platform.""",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the topic."""
    parser.add_argument("topic", metavar="TOPIC", nargs="?", help=", ".join(TOPICS))


def run(options: argparse.Namespace) -> int:
    """Prints the words on a topic, or the topics."""
    if options.topic is None:
        print("\n".join(f"fastness help {name}" for name in TOPICS))
        return 0
    if options.topic not in TOPICS:
        raise UsageError(f"no topic is called {options.topic!r}", hint="one of " + ", ".join(TOPICS))
    print(TOPICS[options.topic])
    return 0
