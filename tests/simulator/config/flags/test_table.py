"""The flag tables as data: spellings, bounds, choices, help, and what a misspelt flag is told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config.commandline.help import flags_help, serve_help
from simulator.config.commandline.parser import Given, parse
from simulator.config.flags.flag import Flag, Kind
from simulator.config.flags.inert import INERT_FLAGS
from simulator.config.flags.llmd import LLMD_FLAGS
from simulator.config.flags.ours import SIMFLEET_FLAGS
from simulator.config.flags.table import FLAGS, find_long, find_short, nearest
from simulator.config.flags.topics import topic_of
from simulator.config.flags.vllm import VLLM_FLAGS
from simulator.errors import ConfigError

TABLES = {"vllm": VLLM_FLAGS, "llmd": LLMD_FLAGS, "ours": SIMFLEET_FLAGS, "inert": INERT_FLAGS}
ALL = [flag for table in TABLES.values() for flag in table]
LIVE = [flag for flag in ALL if not flag.inert]
ALIASES = {alias: flag for flag in ALL for alias in flag.aliases}


def refused(*argv: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(argv)
    return str(caught.value)


def value_of(*argv: str) -> Given:
    ((_, value),) = parse(argv).given.items()
    return value


def test_a_name_stands_in_one_table() -> None:
    names = [flag.name for flag in ALL]
    assert sorted(n for n in names if names.count(n) > 1) == []
    assert set(names) == set(FLAGS)


def faults_of(flag: Flag) -> list[str]:
    bounds = [b for b in (flag.minimum, flag.maximum) if b is not None]
    numeric = flag.kind in (Kind.INT, Kind.HUMAN_INT, Kind.FLOAT, Kind.DURATION)
    rules = {
        "name": re.fullmatch(r"[a-z0-9][a-z0-9-]*", flag.name),
        "sources": flag.sources,
        "aliases": all(re.fullmatch(r"--?[A-Za-z][A-Za-z-]*", alias) for alias in flag.aliases),
        "help ends a sentence": flag.inert or flag.help.endswith((".", "}.")),
        "inert rows say nothing": not flag.inert or (flag.help, flag.choices, bounds) == ("", (), []),
        "bounds are for numbers": not bounds or numeric,
        "bounds rise": bounds == sorted(set(bounds)),
        "choices are for text": not flag.choices or flag.kind is Kind.TEXT,
    }
    return [rule for rule, holds in rules.items() if not holds]


def test_rows_are_well_formed() -> None:
    assert {flag.name: faults for flag in ALL if (faults := faults_of(flag))} == {}


def test_what_comes_from_where() -> None:
    assert all("vllm" in flag.sources for flag in VLLM_FLAGS)
    assert {flag.sources for flag in LLMD_FLAGS} == {("llm-d",)}
    assert {flag.sources for flag in SIMFLEET_FLAGS if flag.name != "config"} == {("simfleet",)}
    assert not any(flag.inert for flag in (*VLLM_FLAGS, *LLMD_FLAGS, *SIMFLEET_FLAGS))
    assert all(flag.inert for flag in INERT_FLAGS)


def test_no_flag_hides_behind_the_no_form_of_another() -> None:
    for flag in ALL:
        if flag.name.startswith("no-"):
            assert flag.name[3:] not in FLAGS
        assert find_long(flag.name) == (flag, False)


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_an_alias_is_its_flag(alias: str) -> None:
    flag = ALIASES[alias]
    if alias.startswith("--"):
        assert find_long(alias[2:]) == (flag, False)
    else:
        assert find_short(alias) == (flag, "")
    values = [] if flag.kind is Kind.BOOL else ["1"]
    assert set(parse([alias, *values]).given) == {flag.name}
    if values:
        assert parse([f"{alias}=1"]).given[flag.name].value == parse([alias, "1"]).given[flag.name].value


@pytest.mark.parametrize(
    ("argument", "name", "rest"),
    [
        ("-tp", "tensor-parallel-size", ""),
        ("-tp=2", "tensor-parallel-size", "=2"),
        ("-dp", "data-parallel-size", ""),
        ("-dpn", "data-parallel-rank", ""),
        ("-dpl", "data-parallel-size-local", ""),
        ("-dpr", "data-parallel-start-rank", ""),
        ("-dp2", "data-parallel-size", "2"),
        ("-O", "compilation-config", ""),
        ("-O3", "compilation-config", "3"),
        ("-cc.mode", "compilation-config", ".mode"),
        ("-v", "v", ""),
        ("-v5", "v", "5"),
    ],
)
def test_the_longest_short_form_wins(argument: str, name: str, rest: str) -> None:
    found = find_short(argument)
    assert found is not None
    assert (found[0].name, found[1]) == (name, rest)


def test_what_is_no_short_form() -> None:
    assert find_short("-x") is None
    assert find_short("-") is None
    assert refused("-x5") == "unknown flag -x5 (`simfleet serve --help` lists all)"
    assert refused("-model") == (
        "unknown flag -model; did you mean --model? (`simfleet serve --help` lists all)"
    )


# --- bounds and choices, for each flag that has them -----------------------------------------------


def typed(flag: Flag, bound: float) -> str:
    """A bound as a user types it: durations in seconds."""
    return f"{bound:g}s" if flag.kind is Kind.DURATION else f"{bound:g}"


MINIMA = [flag for flag in LIVE if flag.minimum is not None]
MAXIMA = [flag for flag in LIVE if flag.maximum is not None]


@pytest.mark.parametrize("flag", MINIMA, ids=lambda flag: flag.name)
def test_the_least_value_is_taken_and_less_is_refused(flag: Flag) -> None:
    assert flag.minimum is not None
    assert value_of(f"--{flag.name}", typed(flag, flag.minimum)).value == flag.minimum
    less = typed(flag, flag.minimum - 1)
    said = refused(f"--{flag.name}={less}")
    if flag.kind is Kind.HUMAN_INT and flag.minimum <= 0:  # no size is below zero: not even a number of them
        assert said.startswith(f"--{flag.name}: ")
    else:
        assert said == f"--{flag.name}: {less} is too small, the least is {typed(flag, flag.minimum)}"


@pytest.mark.parametrize("flag", MAXIMA, ids=lambda flag: flag.name)
def test_the_largest_value_is_taken_and_more_is_refused(flag: Flag) -> None:
    assert flag.maximum is not None
    assert value_of(f"--{flag.name}", typed(flag, flag.maximum)).value == flag.maximum
    more = typed(flag, flag.maximum + 1)
    said = f"--{flag.name}: {more} is too large, the most is {typed(flag, flag.maximum)}"
    assert refused(f"--{flag.name}={more}") == said


@pytest.mark.parametrize("flag", [f for f in LIVE if f.choices], ids=lambda flag: flag.name)
def test_a_choice_is_one_of_those_there_are(flag: Flag) -> None:
    for choice in flag.choices:
        assert value_of(f"--{flag.name}={choice}").value == choice
    names = ", ".join(flag.choices)
    assert refused(f"--{flag.name}=other") == f"--{flag.name}: 'other' is not one of {names}"


WRONG = {
    Kind.BOOL: ("maybe", "'maybe' is neither true nor false"),
    Kind.INT: ("1.5", "'1.5' is not an integer"),
    Kind.HUMAN_INT: ("8kk", "'8kk' is not an integer; 8192, 8k (8000) and 8K (8192) are"),
    Kind.FLOAT: ("nan", "'nan' is not a number"),
    Kind.DURATION: (
        "soon", "'soon' is no duration; write 20ms, 1.5s, 750us, 1m30s, or a number of milliseconds"),
}  # fmt: skip


@pytest.mark.parametrize("flag", [f for f in LIVE if f.kind in WRONG], ids=lambda flag: flag.name)
def test_a_value_of_the_wrong_kind_is_refused_by_name(flag: Flag) -> None:
    text, words = WRONG[flag.kind]
    assert refused(f"--{flag.name}={text}") == f"--{flag.name}: {words}"


def test_a_flag_without_its_value_says_what_it_needs() -> None:
    for flag in ALL:
        if flag.kind is not Kind.BOOL and not flag.many:
            said = f"--{flag.name} needs a value: {flag.kind.value}"
            assert refused(f"--{flag.name}") == said
            assert refused(f"--{flag.name}", "--port", "1") == said, "the next flag is no value"


def test_only_json_has_keys() -> None:
    for flag in LIVE:
        if flag.kind is not Kind.JSON:
            said = f"--{flag.name}.key: --{flag.name} has no keys; it takes {flag.kind.value}"
            assert refused(f"--{flag.name}.key", "1") == said
            assert refused(f"--{flag.name}.key=1") == said
            assert refused(f"--{flag.name}.key") == f"--{flag.name} needs a value: {flag.kind.value}"


@pytest.mark.parametrize("name", [f.name for f in ALL if f.kind is Kind.BOOL])
def test_a_boolean_in_all_its_forms(name: str) -> None:
    for argv in ([f"--{name}"], [f"--{name}=true"], [f"--{name}", "True"], [f"--{name}=1"], [f"--{name}=on"]):
        assert value_of(*argv).value is True
    for argv in ([f"--no-{name}"], [f"--{name}=false"], [f"--{name}", "FALSE"], [f"--{name}=0"]):
        assert value_of(*argv).value is False
    assert parse([f"--{name}", "1"]).positional == ["1"], "only true and false are taken from the next word"
    assert refused(f"--no-{name}=true") == f"--no-{name} takes no value"
    assert refused(f"--no-{name}.a") == f"--no-{name}.a: --{name} has no keys; it takes true or false"


# --- did you mean -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typo", "name"),
    [
        ("max-num-sequences", "max-num-seqs"),
        ("max-model-length", "max-model-len"),
        ("lora-module", "lora-modules"),
        ("served-model-names", "served-model-name"),
        ("time-to-first-tokens", "time-to-first-token"),
        ("time_to_first_tokens", "time-to-first-token"),
        ("prot", "port"),
        ("shutdown-timout", "shutdown-timeout"),
        ("enable-prefix-cache", "enable-prefix-caching"),
    ],
)
def test_a_typo_is_told_the_flag_it_meant(typo: str, name: str) -> None:
    assert refused(f"--{typo}", "1") == (
        f"unknown flag --{typo}; did you mean --{name}? (`simfleet serve --help` lists all)"
    )


@settings(max_examples=20)
@given(st.sampled_from(sorted(n for n in FLAGS if len(n) >= 8)), st.data())
def test_a_letter_too_few_still_has_a_neighbour(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    typo = name[:at] + name[at + 1 :]
    if find_long(typo) is None:
        close = nearest(typo)
        assert close is not None
        assert close in FLAGS


def test_nonsense_has_no_neighbour() -> None:
    assert nearest("qqqqqq") is None
    assert refused("--qqqqqq") == "unknown flag --qqqqqq (`simfleet serve --help` lists all)"


# --- help -------------------------------------------------------------------------------------------

HELP = serve_help()
LIVE_HELP, _, INERT_HELP = HELP.partition("\naccepted without effect:\n")
ENTRY = re.compile(r"^  (?:-\S+, )*--(\S+).*\n((?:      .*\n)*)", re.MULTILINE)
ENTRIES = {m[1]: m[0] for m in ENTRY.finditer(LIVE_HELP + "\n")}


@pytest.mark.parametrize("flag", LIVE, ids=lambda flag: flag.name)
def test_help_has_name_value_meaning_and_default(flag: Flag) -> None:
    head, _, body = ENTRIES[flag.name].partition("\n")
    told = " ".join(body.split())
    assert flag.help in told
    if flag.default:
        assert told.endswith(f"[{flag.default}]")
    assert all(alias in head for alias in flag.aliases)
    if flag.kind is Kind.BOOL:
        assert head.endswith(f"--{flag.name}"), "a boolean shows no value"
    for choice in filter(None, flag.choices):
        assert choice in head.rpartition(" ")[2].split("|")


def test_help_names_the_flags_without_effect_and_nothing_twice() -> None:
    assert INERT_HELP.split() == sorted(f"--{flag.name}" for flag in INERT_FLAGS)
    assert set(ENTRIES) == {flag.name for flag in LIVE}
    assert HELP.startswith("usage: simfleet serve [MODEL] [flags]\n")
    assert HELP.endswith("\n")
    assert not HELP.endswith("\n\n")
    assert max(len(line) for line in HELP.splitlines()) <= 100 + 20, "heads of many choices may be longer"


def test_help_goes_by_group() -> None:
    groups = re.findall(r"^(\S.*):$", flags_help(), re.MULTILINE)
    wanted = list(dict.fromkeys(flag.group for flag in LIVE))
    assert set(groups) == {*wanted, "accepted without effect"}
    assert groups[-1] == "accepted without effect"
    assert len(groups) == len(set(groups)), "a group stands once"


@pytest.mark.parametrize("argv", [["-h"], ["--help"], ["m", "--port", "1", "--help"]])
def test_help_is_asked_for_anywhere(argv: list[str]) -> None:
    assert parse(argv).wants_help


def test_what_flags_without_effect_would_change_is_known() -> None:
    unknown = [name for name, flag in FLAGS.items() if flag.inert and topic_of(name) is None]
    assert not unknown
