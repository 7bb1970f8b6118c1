"""Reads `cargo metadata`: no dependency of the library itself may need a newer Rust than the crate says it needs."""

import json
import sys


def version(text):
    return tuple(int(part) for part in (text or "0").split("."))


metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root, = (package["id"] for package in metadata["packages"] if package["name"] == "tollgate")
ours = version(packages[root]["rust_version"])

seen, stack = set(), [root]
while stack:
    node = stack.pop()
    if node in seen:
        continue
    seen.add(node)
    for dependency in nodes[node]["deps"]:
        if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
            stack.append(dependency["pkg"])

newer = [packages[node]["name"] for node in seen if version(packages[node]["rust_version"])[:2] > ours[:2]]
print(f"{len(seen)} packages, none of which needs more than {'.'.join(map(str, ours))}" if not newer else f"too new: {newer}")
sys.exit(bool(newer))
