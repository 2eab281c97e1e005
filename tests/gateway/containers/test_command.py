"""Containers as command lines of the simulator: programs, scripts, images, files, what is refused and why."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.containers.command import ServerCommand, picker_words, server_command
from gateway.errors import ContainerError
from gateway.manifests.load import load
from tests.e2e import worlds

IMAGE = "vllm/vllm-openai:v0.21.0"
CASES = Path(__file__).parents[4] / "shared" / "cases" / "containers.jsonl"


def command_of(
    directory: Path,
    command: Sequence[str] = (),
    args: Sequence[str] = (),
    env: dict[str, str] | None = None,
    files: dict[str, str] | None = None,
    **more: Any,
) -> ServerCommand:
    """The server of a container; `files` are mounted at /conf."""
    server = worlds.servers("x")
    template = server["spec"]["template"]["spec"]
    variables = [{"name": n, "value": v} for n, v in (env or {}).items()]
    container = {"image": IMAGE, "command": list(command), "args": list(args), "env": variables}
    template["containers"][0].update(
        container | {"volumeMounts": [{"name": "v", "mountPath": "/conf"}]} | more
    )
    template["volumes"] = [{"name": "v", "configMap": {"name": "conf"}}]
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": worlds.meta("conf"), "data": files or {}}
    manifests = load(["-"], "apps", io.StringIO(worlds.dump(server, config)))
    workload = manifests.workloads[0]
    return server_command(
        manifests, workload, workload.containers[0], name="x-7", address="127.0.0.9", directory=directory
    )


def script_of(
    directory: Path, script: str, shell: tuple[str, ...] = ("bash", "-c"), **more: Any
) -> list[str]:
    return list(command_of(directory, shell, [script], **more).flags)


@pytest.mark.parametrize(
    ("command", "args", "flags"),
    [
        ([], ["--model", "m"], ["--model", "m"]),
        ([], ["m", "--port", "1"], ["m", "--port", "1"]),
        (["vllm", "serve"], ["m"], ["m"]),
        (["vllm"], ["serve", "m"], ["m"]),
        ([], ["vllm", "serve", "m"], ["m"]),
        (["/app/llm-d-inference-sim"], ["--model", "m"], ["--model", "m"]),
        (["python3", "-m", "vllm.entrypoints.openai.api_server"], ["--model", "m"], ["--model", "m"]),
        (["python3", "-u", "-mvllm.entrypoints.openai.api_server"], ["--model", "m"], ["--model", "m"]),
        (["python", "/usr/local/bin/vllm", "serve"], ["m"], ["m"]),
        (["simfleet", "serve"], ["--model", "m"], ["--model", "m"]),
        (["tini", "-g", "--", "numactl", "-N", "0", "vllm", "serve"], ["m"], ["m"]),
        (["sh", "-c"], ["exec vllm serve $MODEL --port ${PORT:-8000}"], ["m", "--port", "8000"]),
        (["/bin/bash", "-c", "pip install x && vllm serve m \\\n --port 1"], [], ["m", "--port", "1"]),
        (["bash", "-lc"], ["vllm serve 'a b' --x '{\"k\": 1}'"], ["a b", "--x", '{"k": 1}']),
        (["bash", "-c", 'vllm serve "$0" "$@"'], ["m", "--x", "a b"], ["m", "--x", "a b"]),
        (["bash", "-c"], ["bash -c 'vllm serve $1' _ m"], ["m"]),
        (["bash", "/conf/start.sh"], ["m"], ["m", "--script"]),
        (["/conf/start.sh"], ["m"], ["m", "--script"]),
        (["bash", "-c"], [". /conf/env.sh; vllm serve $SOURCED"], ["sourced"]),
    ],
)
def test_the_server_s_flags(tmp_path: Path, command: list[str], args: list[str], flags: list[str]) -> None:
    files = {"start.sh": '#!/bin/bash\nexec vllm serve "$1" --script\n', "env.sh": "SOURCED=sourced\n"}
    found = command_of(tmp_path, command, args, {"MODEL": "m"}, files)
    assert (list(found.flags), found.notes) == (flags, ())


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("vllm serve m 2>&1 | tee /tmp/log", ["m"]),
        ("vllm serve m &\nwait $!", ["m"]),
        ("ulimit -n 65536; vllm serve m; sleep infinity", ["m"]),
        ("vllm serve m --port $((PORT + 1)) # why", ["m", "--port", "8002"]),
        ('if [ -n "$A" ]; then vllm serve a; else vllm serve b; fi', ["b"]),
        ("nvidia-smi || true\nvllm serve m", ["m"]),
        ("until curl -s leader:8080; do sleep 1; done\nvllm serve m", ["m"]),
        ("ray start --head --port 6379 && vllm serve m", ["m"]),
        (
            "vllm serve m --name $(hostname) --ip ${IP:-$(hostname -i)}",
            ["m", "--name", "x-7", "--ip", "127.0.0.9"],
        ),
        ("RANK=${HOSTNAME##*-}\nvllm serve m --rank $RANK", ["m", "--rank", "7"]),
        ('ARGS=(--a "b c")\nvllm serve m "${ARGS[@]}"', ["m", "--a", "b c"]),
        ('start() { exec vllm serve "$@"; }\nstart m --x', ["m", "--x"]),
        ("nohup numactl --cpunodebind=0 -- vllm serve m > /dev/null 2>&1 &\nwait", ["m"]),
        ("if nvidia-smi; then vllm serve m; else vllm serve m; fi", ["m"]),
        ("pip install x || exit 1\nvllm serve m", ["m"]),
        ("exec $(which vllm) serve m", ["m"]),
        ("i=0; while ! curl x; do i=$((i+1)); [ $i -gt 9 ] && exit 1; done; vllm serve m", ["m"]),
        ("vllm --version; vllm serve m", ["m"]),
        (
            "V=$(vllm --version | tail -1)\n"
            '[ "$(printf "%s\\n" 0.22.0 $V | sort -V | head -1)" = 0.22.0 ] && A=--new\n'
            "vllm serve m $A --v $V",
            ["m", "--v", "0.21.0"],
        ),
        ("vllm serve --help > /tmp/help; vllm serve m", ["m"]),
    ],
)
def test_scripts(tmp_path: Path, script: str, flags: list[str]) -> None:
    assert script_of(tmp_path, script, env={"PORT": "8001"}) == flags


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo hello; sleep infinity", "no server command found"),
        ("/app/start.sh", "no server command found; .*`/app/start.sh`"),
        ("bash /app/start.sh", "runs /app/start.sh, a file of the image"),
        ("vllm serve m --n $(nproc)", r"line 1: the server's arguments hold the output of `nproc`"),
        ("vllm serve $(cat /models/name)", "what /models/name, a file of the image, holds"),
        ("source /app/env.sh\nvllm serve $MODEL", "/app/env.sh, a file of the image, may set"),
        (
            "if nvidia-smi; then vllm serve a; else vllm serve b; fi",
            "line 1: the server of line 1 or that of line 1",
        ),
        (
            "vllm serve a --port 1 &\nvllm serve b --port 2 &\nwait",
            "starts a second server .* beside that of line 1",
        ),
        ("xargs vllm serve < m", "`xargs` may run a server"),
        ("numactl --odd 1 vllm serve m", "numactl: the option --odd is not known"),
        ("vllm serve 'm", "line 1: a single quote is not closed"),
        ("while true; do if curl x; then A=1; fi; done; vllm serve $A", "no server command found"),
        ("for m in $(ls /models); do vllm serve $m; done", "ls /models"),
        ("python3 -m dynamo.vllm --model m", "Dynamo"),
        ("vllm serve /models/*", r"/models/\*, names of files in the container"),
        ("vllm serve m <<EOF\n$(", r"line \d: '\)' is missing"),
        ("set -u\nvllm serve $NOBODY", "NOBODY is not set, and `set -u`"),
        ("vllm serve ${MODEL:?say a model}", "say a model"),
        ("trap 'vllm serve m' EXIT; exit 1", "from a trap"),
        ("f() { f; }; f", "without an end"),
        ("[[ a =~ (b; ]] && vllm serve m", "is missing|would not take"),
        ("A=x; while :; do A=$A$A; done; vllm serve $A", "becomes too long|longer than"),
        ("A=m; vllm serve ${A/[z-a]/x}", "the pattern '\\[z-a\\]' cannot be read"),
        ("vllm serve $'\\UFFFFFFFF'", "no character that an argument may have"),
        ("while true; do A=$A.; done", "for longer than it can be followed"),
        ("vllm serve " + "$(" * 90 + ")" * 90, "nested too deeply"),
    ],
)
def test_what_cannot_be_known_is_refused_with_its_reason(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(ContainerError, match=words) as error:
        script_of(tmp_path, script)
    assert "container vllm" in str(error.value)
    assert error.value.line


def test_the_variables_of_the_script_are_the_server_s(tmp_path: Path) -> None:
    script = "export VLLM_API_KEY=$KEY; PLAIN=x; POD_IP=$(curl -s me); export POD_IP\n"
    script += "PYTHONHASHSEED=7 vllm serve m"
    found = command_of(tmp_path, ["bash", "-c"], [script], {"KEY": "k"})
    assert found.env == {
        "HOSTNAME": "x-7", "KEY": "k", "VLLM_API_KEY": "k", "PYTHONHASHSEED": "7", "POD_NAME": "x-7",
        "POD_NAMESPACE": "apps",
    }  # fmt: skip
    assert [note.split(":")[0] for note in found.notes] == ["POD_IP is left out"]


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("[[ -n x ]] && vllm serve m", "[[ ]]"),
        ("A=(m); vllm serve ${A[0]}", "an array"),
        ("vllm serve ${M//x/y}", "${M//x/y}"),
        ("vllm serve m &> /dev/null", "&>"),
        ('vllm serve "${M:-m}" > /dev/null 2>&1', ""),
    ],
)
def test_scripts_for_bash_that_sh_is_to_run_are_told(tmp_path: Path, script: str, found: str) -> None:
    notes = command_of(tmp_path, ["sh", "-c"], [script], {"M": "m"}).notes
    assert bool(notes) == bool(found)
    assert found in " ".join(notes)
    assert not command_of(tmp_path, ["bash", "-c"], [script], {"M": "m"}).notes


def test_a_variable_without_a_value_is_told(tmp_path: Path) -> None:
    (note,) = command_of(tmp_path, ["bash", "-c"], ["vllm serve m --api-key $KEY"]).notes
    assert note == "$KEY (line 1) has no value in these manifests: the script puts nothing in its place"


def test_files_that_the_script_writes_are_the_server_s(tmp_path: Path) -> None:
    flags = script_of(
        tmp_path, "cat <<EOF > /tmp/c.yaml\nmodel: $M\nEOF\nvllm serve --config /tmp/c.yaml", env={"M": "m"}
    )
    assert flags == ["--config", f"{tmp_path}/written/tmp/c.yaml"]
    assert Path(flags[1]).read_text() == "model: m\n"
    with pytest.raises(ContainerError, match=r"the server reads /tmp/c.yaml, whose text is not known"):
        script_of(tmp_path, "curl x > /tmp/c.yaml; vllm serve --config /tmp/c.yaml")


@pytest.mark.parametrize(
    ("args", "flags", "words"),
    [
        (
            ["--chat-template", "examples/t.jinja"],
            [],
            "--chat-template examples/t.jinja is a file of the image: ",
        ),
        (["--chat-template={{ x }}"], ["--chat-template={{{{ x }}}}"], ""),
        (["--tokenizer", "/models/t"], [], "--tokenizer /models/t is a file of the image"),
        (["--tokenizer", "org/name"], ["--tokenizer", "org/name"], ""),
        (
            ["--ssl-certfile=/certs/tls.crt", "--ssl-keyfile", "/certs/tls.key"],
            ["--self-signed-certs"],
            "stands in",
        ),
        (["--config", "/conf/c.yaml"], ["--config", "{}/v/c.yaml"], ""),
    ],
)
def test_files_of_the_image(tmp_path: Path, args: list[str], flags: list[str], words: str) -> None:
    found = command_of(tmp_path, [], ["--model", "m", *args], files={"c.yaml": "port: 1\n"})
    assert list(found.flags) == ["--model", "m", *(f.format(tmp_path) for f in flags)]
    assert words in " ".join(found.notes)
    assert bool(words) == bool(found.notes)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--config", "/etc/vllm.yaml"], "--config /etc/vllm.yaml is a file of the image"),
        (["--dataset-path", __file__], "is a file of the image, not of these manifests"),
        (["--uds", "/tmp/s"], "--uds: a gateway reaches a pod over TCP"),
    ],
)
def test_files_without_which_nothing_can_be_said(tmp_path: Path, args: list[str], words: str) -> None:
    with pytest.raises(ContainerError, match=words):
        command_of(tmp_path, [], args)


@pytest.mark.parametrize(
    ("image", "args", "outcome"),
    [
        (
            "ghcr.io/llm-d/llm-d-inference-sim:v0.7.1",
            ["--model", "m"],
            ["--model", "m", "--compat", "llm-d-0.7"],
        ),
        ("vllm/vllm-openai:v0.11.2", ["--model", "m"], ["--model", "m", "--compat", "vllm-0.11"]),
        ("vllm/vllm-openai:v0.11.2", ["--compat=vllm-0.33"], ["--compat=vllm-0.33"]),
        ("example.com/simfleet", [], []),
        ("registry.local/serving:3", ["--model", "m"], ["--model", "m"]),
        ("nginx", [], "what the image nginx starts is not known"),
        ("nvcr.io/nim/meta/llama:1", [], "NVIDIA NIM"),
    ],
)
def test_images(tmp_path: Path, image: str, args: list[str], outcome: list[str] | str) -> None:
    if isinstance(outcome, str):
        with pytest.raises(ContainerError, match=outcome):
            command_of(tmp_path, [], args, image=image)
    else:
        found = command_of(tmp_path, [], args, image=image)
        assert list(found.flags) == outcome
        assert bool(found.notes) == image.startswith("registry")


@pytest.mark.parametrize(
    ("command", "flags", "words"),
    [
        (
            "python3 -m sglang.launch_server --model-path m --served-model-name n --tp 2 --grammar x -z",
            ["--model", "m", "--served-model-name", "n", "--tensor-parallel-size", "2", "--port", "30000"],
            "without a counterpart: --grammar -z",
        ),
        ("sglang serve --model m --port 8000", ["--model", "m", "--port", "8000"], "SGLang is played by"),
        (
            "trtllm-serve m --max_batch_size 8 --backend pytorch",
            ["--model", "m", "--max-num-seqs", "8"],
            "without a counterpart: --backend",
        ),
    ],
)
def test_other_servers_are_played_and_told(
    tmp_path: Path, command: str, flags: list[str], words: str
) -> None:
    found = command_of(tmp_path, command.split(), [])
    assert list(found.flags) == flags
    assert words in found.notes[0]


def picker(command: list[str]) -> list[str]:
    objects = worlds.servers("x")
    objects["spec"]["template"]["spec"]["containers"][0].update({"command": command, "args": []})
    container = load(["-"], "apps", io.StringIO(worlds.dump(objects))).workloads[0].containers[0]
    return picker_words(container, {"POOL": "p"}, {"/config": Path("/local")})


def test_pickers_may_start_from_scripts_too() -> None:
    flags = ["--pool-name", "p", "--config-file", "/local/a.yaml"]
    assert picker(["/app/epp", "--pool-name", "$(POOL)", "--config-file", "/config/a.yaml"]) == [
        "/app/epp",
        *flags,
    ]
    script = "echo starting; exec /app/epp --pool-name $POOL --config-file /config/a.yaml 2>&1"
    assert picker(["sh", "-c", script]) == ["/app/epp", *flags]
    with pytest.raises(ContainerError, match="no endpoint picker found"):
        picker(["sh", "-c", "sleep infinity"])


@pytest.mark.skipif(not CASES.exists(), reason=f"no {CASES}: the cases live outside of the repository")
def test_cases_that_once_failed(tmp_path: Path) -> None:
    for line in CASES.read_text().splitlines():
        case = json.loads(line)
        want = case["want"]
        given = tmp_path, case["command"], case["args"], case["env"]
        if want.get("refused", "").startswith("no server"):
            with pytest.raises(ContainerError, match=want["refused"]):
                command_of(*given, image=case["image"])
            continue
        flags = command_of(*given, image=case["image"]).flags
        assert {want.get("model", "meta/X"), str(want.get("port", "meta/X"))} <= {"meta/X", *flags}, case[
            "name"
        ]
