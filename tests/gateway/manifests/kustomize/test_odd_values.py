"""Values of wrong types, anywhere in a kustomization or in what it builds on, are errors or go through."""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import ManifestError
from gateway.manifests.kustomize.build import build
from tests.gateway.manifests.kustomize.record import HERE, OVERLAYS, Loader, write

ODD: tuple[Any, ...] = (None, "text", "", 7, True, [], {}, ["text"], {"a": "b"}, [None], [[]], {"a": None})


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from places(item)


@pytest.mark.parametrize("seed", range(3))
def test_only_manifest_errors(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    base = list(yaml.load_all((HERE / "base.yaml").read_text(), Loader))
    names = ["all-at-once", "more-kinds", "patch-strategic", "labels-both", "generator-options", "patch-json"]
    failed = 0
    for i in range(30):
        overlay = deepcopy(OVERLAYS[chance.choice(names)])
        objects = deepcopy(base)
        patch = yaml.load(overlay.get("p.yaml", "{}"), Loader)
        changed = chance.choice([overlay["k"], objects, patch])
        for holder, key in chance.sample(list(places([changed])), 1):
            holder[key] = chance.choice(ODD)
        if "p.yaml" in overlay:
            overlay["p.yaml"] = yaml.safe_dump(patch)
        if not isinstance(overlay["k"], dict):
            continue
        where = write(overlay, tmp_path / str(i))
        (where.parent / "base" / "base.yaml").write_text(yaml.safe_dump_all(objects))
        try:
            build(where / "kustomization.yaml")
        except ManifestError:
            failed += 1
    assert 0 < failed < 30
