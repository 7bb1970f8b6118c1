"""Reads `cargo metadata` of the workspace: no dependency of the library itself may need a newer Rust than the library says
it needs. What only tests, examples, benches and other members use may."""

import json
import sys

# Features that may need a newer Rust than the rest, and which: their optional dependencies are held to that.
NEWER = {"redis": "1.88", "redis-tls": "1.88"}


def version(text):
    return tuple(int(part) for part in (text or "0").split("."))[:2]


metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
library, = (package for package in metadata["packages"] if package["name"] == "tollgate")


def optional(features):
    """The optional dependencies that these features bring in."""
    return {word[len("dep:"):] for feature in features for word in library["features"][feature] if word.startswith("dep:")}


def normal(package):
    """What a package itself needs, by the names that it uses."""
    for dependency in nodes[package]["deps"]:
        if any(kind["kind"] in (None, "build") for kind in dependency["dep_kinds"]):
            yield dependency["name"].replace("_", "-"), dependency["pkg"]


def check(what, limit, left_out):
    left_out = {name.replace("_", "-") for name in left_out}
    seen, stack = set(), [id for name, id in normal(library["id"]) if name not in left_out]
    while stack:
        package = stack.pop()
        if package not in seen:
            seen.add(package)
            stack.extend(id for _, id in normal(package))
    newer = [f"{packages[id]['name']} {packages[id]['rust_version']}" for id in seen
             if version(packages[id]["rust_version"]) > version(limit)]
    print(f"{what}: {len(seen)} dependencies, " + (f"of which these need more than {limit}: {newer}" if newer
                                                    else f"none of which needs more than {limit}"))
    return not newer


rest = [feature for feature in library["features"] if feature not in NEWER]
fine = [check("the library", library["rust_version"], optional(NEWER) - optional(rest))]
for feature, limit in NEWER.items():
    fine.append(check(f"with {feature}", limit, optional(set(NEWER) - {feature}) - optional(rest + [feature])))
sys.exit(not all(fine))
