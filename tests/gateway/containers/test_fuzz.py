"""Scripts that are broken at random: each ends in a reading or in a reason, and soon."""

from __future__ import annotations

import random

from gateway.containers import servers
from gateway.containers.shell.run import World
from gateway.containers.shell.search import Search
from gateway.errors import ScriptError
from tests.gateway.containers.scripts import ENV, Composer

CHARACTERS = "$(){}[]'\"`\\|&;<>*?!#=:-+/%^,~@ \n\tab0"


def broken(seed: int) -> str:
    chance = random.Random(seed)
    text = list(Composer(seed, unknowns=True).script().text)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(text))
        how = chance.random()
        if how < 0.4:
            text[at] = chance.choice(CHARACTERS)
        elif how < 0.7:
            text.insert(at, chance.choice(CHARACTERS))
        elif how < 0.85:
            del text[at]
        else:
            begin = chance.randrange(len(text))
            text[at:at] = text[begin : begin + chance.randint(1, 30)]
    return "".join(text)


def test_broken_scripts_are_read_or_refused() -> None:
    outcomes = {"read": 0, "refused": 0}
    for seed in range(250):
        search = Search(World(servers.is_server), lambda start: servers.server(start.words))
        try:
            servers.server(search.take(["bash", "-c", broken(seed)], ENV).words)
            outcomes["read"] += 1
        except ScriptError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 25, outcomes
