"""Scripts composed at random from what containers' scripts are made of, for a comparison with bash itself."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

NAMES = ("MODEL", "PORT", "A", "B", "TP", "EXTRA", "EMPTY", "WITH_BLANKS")
ENV = {
    "MODEL": "meta/M",
    "PORT": "8001",
    "TP": "4",
    "EXTRA": "--seed 7 --x=y",
    "EMPTY": "",
    "WITH_BLANKS": " a  b ",
    "HOSTNAME": "pod-12",
}
PLAIN = ("meta/X", "--port", "8000", "--x=1", "-q", "a,b", "k:v", "100%", "x=y", "@here", "^a", "--long-flag")


@dataclass
class Script:
    """Its text; `unknown`: words of which a refusal must hold one, each of a part that nobody can know."""

    text: str
    unknown: list[str] = field(default_factory=list)


class Composer:
    """Composes scripts from a seed. Parts that are not known in advance come only with `unknowns`."""

    def __init__(self, seed: int, *, unknowns: bool = False) -> None:
        self.random = random.Random(seed)
        self.unknowns = unknowns
        self.unknown: list[str] = []
        self._functions = 0

    def script(self) -> Script:
        lines = [self.statement() for _ in range(self.random.randint(0, 4))]
        lines.append(self.server())
        lines += [self.epilogue() for _ in range(self.random.randint(0, 2))]
        return Script(self.join(lines), self.unknown)

    def pick(self, *parts: str) -> str:
        return self.random.choice(parts)

    def join(self, lines: list[str]) -> str:
        """One below the other, or with a semicolon where the line may have one behind it."""
        text = ""
        for line in lines:
            simple = "\n" not in line and "#" not in line and not line.endswith("&")
            text += line + (self.pick("\n", "\n\n", " ; ", "\n# a comment: it's 'odd\n") if simple else "\n")
        return text

    # words

    def word(self) -> str:
        makers = [
            self.plain,
            self.plain,
            self.quoted,
            self.variable,
            self.variable,
            self.arithmetic,
            self.substitution,
            self.escaped,
            self.glued,
            self.positional,
            self.braces,
            self.pattern,
            self.json,
        ]
        if self.unknowns and self.random.random() < 0.03:
            return self.not_known()
        return self.random.choice(makers)()

    def plain(self) -> str:
        return self.random.choice(PLAIN)

    def quoted(self) -> str:
        return self.pick(
            "'a b'",
            '"a  b"',
            "''",
            '""',
            "'$MODEL'",
            '"$MODEL"',
            '"${MODEL}/x"',
            "'it'\\''s'",
            '"a\\"b"',
            '"\\$A"',
            '"a\'b"',
            "$'t\\tn\\x41'",
            '"a\\b"',
            '"`echo hi`"',
            "'*'",
            '"[1,2]"',
            '"a\\\nb"',
        )

    def json(self) -> str:
        return self.pick(
            '\'{"kv_connector":"NixlConnector","kv_role":"kv_both"}\'',
            '"{\\"a\\": [1, 2]}"',
            '\'{"x": "$A"}\'',
            '\'{"method":"ngram",\n  "n":4}\'',
            '{"x":1}',
        )

    def variable(self) -> str:
        name = self.random.choice(NAMES)
        other = self.random.choice(NAMES)
        form = self.pick(
            "${n}",
            '"${n}"',
            "${{{n}:-d}}",
            '"${{{n}:-a b}}"',
            "${{{n}-d}}",
            "${{{n}:+--set}}",
            '${{{n}:+"a b"}}',
            "${{#{n}}}",
            "${{{n}:-${{{o}:-z}}}}",
            "${{{n}:-a b}}",
            '"${{{n}:-"q $A"}}"',
            "x${n}y",
            '"x${{{n}}}y"',
            "${{{n}:=dflt}}",
            "${{{n}+set}}",
            '"${{{n}:-}}"',
            "${{{n}:-'s q'}}",
            "${{{n}:-$((1+1))}}",
        )
        return form.format(n=name, o=other)

    def pattern(self) -> str:
        return self.pick(
            "${MODEL##*/}",
            "${MODEL%/*}",
            '"${MODEL#meta/}"',
            "${MODEL//e/E}",
            "${MODEL/meta\\//}",
            "${HOSTNAME##*-}",
            "${MODEL^^}",
            "${MODEL,,}",
            "${MODEL:0:4}",
            "${MODEL: -1}",
            "${MODEL:2}",
            "${EXTRA/--seed/--no-seed}",
            '"${WITH_BLANKS// /_}"',
            "${HOSTNAME%%-*}",
            "${PORT/#80/90}",
            "${PORT/%1/2}",
            "${MODEL#*[/]}",
            "${HOSTNAME//[0-9]/N}",
            "${MODEL^}",
            "${EMPTY:-none}",
            "${MODEL//\\//-}",
        )

    def arithmetic(self) -> str:
        return self.pick(
            "$((1+2*3))",
            "$(( PORT + 1 ))",
            "$((${TP:-1} * 2))",
            '"$((TP<<2))"',
            "$(( (1+2)*3 ))",
            "$((0x10))",
            "$((PORT % 7))",
            "$((TP > 2 ? 10 : 20))",
            "$((-7/2))",
            "$((2**10))",
            "$((TP && 0))",
            "$(( NOPE + 3 ))",
            "--n=$((TP*$PORT))",
            "$((1,2))",
            "$((~5))",
            "$((10#08 + 1))",
        )

    def substitution(self) -> str:
        return self.pick(
            "$(echo a)",
            '"$(echo "a b")"',
            "`echo c`",
            "$(echo a b)",
            "\"$(printf '%s-%d' x 5)\"",
            "$(hostname)",
            "$(echo $MODEL | cut -d/ -f2)",
            '$(echo "$MODEL" | tr a-z A-Z)',
            "$(basename $MODEL)",
            "$(dirname /a/b/c)",
            "$(hostname | sed 's/pod-//')",
            "$(seq 2 4)",
            '"$(cat <<EOF\nline $TP\nEOF\n)"',
            "$(echo a; echo b)",
            '"$(echo a; echo b)"',
            "$( (echo sub) )",
            "$(echo $(echo $TP))",
            "$(echo \"$(echo 'x y')\")",
            "$(if [ $TP -gt 2 ]; then echo big; else echo small; fi)",
            "$(expr $TP + 1)",
            "$(:)",
            "$(printf 'a\\n\\n')",
            "$(hostname | awk -F- '{print $2}')",
            "$(echo $TP | head -n 1)",
            "$(true && echo yes || echo no)",
        )

    def escaped(self) -> str:
        return self.pick("a\\ b", "\\$MODEL", '\\"q\\"', "a\\\nb", "\\#no", "a#b", "\\*", "\\{a,b\\}", "\\\\")

    def glued(self) -> str:
        return (
            self.pick("--m=", "pre", "'a b'", '"c"')
            + self.pick("$MODEL", '"$A"', "$TP", "${B:-x}")
            + self.pick("", "post", "'q'", '"$PORT"')
        )

    def positional(self) -> str:
        return self.pick('"$@"', "$1", '"$1"', "$#", '"$*"', "$@", "${1:-first}", '"${@:2}"', "$*", '"${2-}"')

    def braces(self) -> str:
        return self.pick(
            "{a,b}", "x{1..3}", "--{p,q}=1", "{a,b}{1,2}", "'{a,b}'", "{single}", "{a,$TP}", "{}"
        )

    def not_known(self) -> str:
        text, words = self.random.choice(
            [
                ("$(nproc)", "nproc"),
                ("$RANDOM", "RANDOM"),
                ("$(curl -s x)", "curl"),
                ("/models/*", "/models/*"),
                ("$(cat /etc/some-model)", "/etc/some-model"),
                ("$$", "$$"),
            ]
        )
        self.unknown.append(words)
        return text

    def words(self, most: int = 5) -> str:
        blank = self.pick(" ", " ", "  ", " \\\n  ", "\t")
        return blank.join(self.word() for _ in range(self.random.randint(0, most)))

    # statements

    def statement(self) -> str:
        makers = [
            self.assignment,
            self.assignment,
            self.export,
            self.set,
            self.conditional,
            self.case,
            self.loop,
            self.external,
            self.function,
            self.array,
            self.file,
            self.reading,
            self.noise,
        ]
        return self.random.choice(makers)()

    def assignment(self) -> str:
        name = self.random.choice(NAMES)
        return f"{name}{self.pick('=', '=', '+=')}{self.word_of_one()}"

    def word_of_one(self) -> str:
        """A word that stays one behind a `=`, and has no brace expansion there."""
        return self.random.choice(
            [
                self.quoted,
                self.variable,
                self.pattern,
                self.arithmetic,
                self.substitution,
                self.json,
                self.glued,
            ]
        )()

    def export(self) -> str:
        name = self.random.choice(NAMES)
        return self.pick(
            f"export {name}={self.word_of_one()}",
            f"export {name}",
            f"unset {name}",
            f"declare -x {name}=v",
            f"readonly R{name}=1",
            f"export -n {name}",
            f"set -a; {name}=all; set +a",
        )

    def set(self) -> str:
        return self.pick(
            f"set -- {self.words(3)}",
            "set -e",
            "set -x",
            "set -euo pipefail; set +u",
            "set -o pipefail",
            "shift || true",
        )

    def test(self) -> str:
        return self.pick(
            '[ -n "$A" ]',
            '[ -z "${B:-}" ]',
            '[ "$TP" -gt 2 ]',
            "[ $PORT = 8001 ]",
            "[[ $MODEL == meta/* ]]",
            '[[ "$MODEL" =~ ^meta/(.+)$ ]]',
            "[[ -n $A && $TP -lt 9 ]]",
            '[ "$A" = x -o "$TP" = 4 ]',
            'test -n "$EXTRA"',
            "(( TP > 2 ))",
            "true",
            "false",
            "! true",
            "[[ $MODEL != *X* ]]",
            '[ ! -n "$A" ]',
            "[[ ! ( -z $A ) ]]",
            '[ "$MODEL" != "$PORT" ]',
            "[[ -v TP ]]",
            "[[ $HOSTNAME =~ -([0-9]+)$ ]]",
            "[ $# -eq 0 ]",
            "(( TP == 4 && PORT ))",
        )

    def conditional(self) -> str:
        yes, no = self.simple(), self.simple()
        return self.pick(
            f"if {self.test()}; then {yes}; else {no}; fi",
            f"if {self.test()}\nthen\n  {yes}\nelif {self.test()}; then\n  {no}\nfi",
            f"{self.test()} && {yes}",
            f"{self.test()} || {no}",
            f"{self.test()} && {yes} || {no}",
        )

    def simple(self) -> str:
        return self.random.choice([self.assignment, self.export, self.noise])()

    def case(self) -> str:
        subject = self.pick("$MODEL", "$TP", '"$A"', "$HOSTNAME", "x")
        return (
            f"case {subject} in\n  meta/*|x) {self.simple()} ;;\n"
            f"  [0-9]) {self.simple()};;\n  (*-?|'') {self.simple()}\n  ;;\n  *) {self.simple()} ;;\nesac"
        )

    def loop(self) -> str:
        return self.pick(
            'for i in 1 2 3; do A="$A$i"; done',
            "for w in $EXTRA; do B=$w; done",
            "i=0; while [ $i -lt 3 ]; do i=$((i+1)); done; A=$i",
            'for p in "$@"; do A="$p"; done',
            "for ((i=0; i<4; i++)); do B=$i; done",
            "until true; do A=never; done",
            "for i in 1 2 3 4; do [ $i = 3 ] && break; A=$i; done",
            "for x in {1..3}; do if [ $x = 2 ]; then continue; fi; A+=$x; done",
            "until curl -sf localhost; do sleep 1; done",
            "for i in $(seq 1 3); do curl x && break; sleep 1; done",
            'while IFS= read -r line; do A="$line"; done <<< "$EXTRA"',
            "n=3; while (( n-- > 0 )); do B=$n; done",
        )

    def external(self) -> str:
        return self.pick(
            "pip install -q x",
            "nvidia-smi",
            "mkdir -p /tmp/none 2>/dev/null || true",
            "ulimit -n 1024 2>/dev/null || true",
            "nvidia-smi > /dev/null 2>&1 || echo none",
            "curl -s x | head -1",
            "sleep 2 & sleep 3",
            "pip install a && pip install b",
            "if nvidia-smi; then echo gpu; fi",
            "N=$(nproc)",
            "trap 'kill 0' TERM",
        )

    def function(self) -> str:
        self._functions += 1
        name = f"f{self._functions}"
        end = self.pick("return 0", "return", ":")
        body = f'  local v={self.word_of_one()}\n  A="$v-$1"; {end}'
        return f"{name}() {{\n{body}\n}}\n{name} {self.word_of_one()}"

    def array(self) -> str:
        return self.pick(
            'ARGS=(--a "b c" $TP)\nset -- "${ARGS[@]}"',
            'ARGS=()\nARGS+=(--x 1)\nARGS+=("$MODEL")\nA="${ARGS[*]}"; B=${#ARGS[@]}',
            "L=(a b c); A=${L[1]}; B=${L[-1]}",
            "IFS=, read -ra P <<< 'x,y,z'; A=${P[2]}; B=${#P[@]}",
            "declare -a Q=(1 2); A=${Q[*]}",
        )

    def file(self) -> str:
        return self.pick(
            "cat <<EOF > $D/f\nA is $A\nEOF\nB=$(cat $D/f)",
            "cat > $D/g <<'E'\nraw $A\nE\nA=$(cat $D/g)",
            "echo one > $D/h; echo two >> $D/h; A=$(tail -n 1 $D/h)",
            "cat <<-EOF\n\tnothing\n\tEOF",
            "echo x | tee $D/t; A=$(< /dev/null)",
            "echo 'A=sourced' > $D/s; . $D/s",
            "cat <<A1 <<B1\nfirst\nA1\nsecond\nB1",
        )

    def reading(self) -> str:
        return self.pick(
            "read -r A B <<< 'p q r'",
            "echo $MODEL | { read -r x; A=$x; }",
            'IFS=- read -r A B <<< "$HOSTNAME"',
            'A=$(echo "$EXTRA" | while read -r w rest; do echo $rest; done)',
            "printf -v A '%03d' $TP",
            'eval "A=\\$MODEL"',
            "let A=TP+1",
            "A=$(cd / && pwd)",
            "B=$(set -- a b; echo $#)",
        )

    def noise(self) -> str:
        return self.pick(
            "echo starting $MODEL",
            "true",
            ":",
            "echo 'it is # no comment'",
            "cd /tmp",
            "date > /dev/null",
            "echo a; echo b",
        )

    # servers

    def start(self) -> str:
        program = self.pick(
            "vllm serve",
            "vllm serve",
            "python3 -m vllm.entrypoints.openai.api_server",
            "python3 -u -m vllm.entrypoints.openai.api_server",
            "llm-d-inference-sim",
            "simfleet serve",
            "/usr/bin/env vllm serve",
        )
        return f"{program} {self.words()}".rstrip(" \t")

    def wrapped(self) -> str:
        before = self.pick(
            "",
            "",
            "",
            "exec ",
            "A=1 ",
            "A=$TP B='x y' ",
            "env A=2 ",
            "numactl -N 0 -m 0 ",
            "nohup ",
            "nice -n 5 ",
            "timeout 60 ",
            "stdbuf -oL ",
            "exec env -u B A=3 ",
            "time ",
            "tini -s -- ",
            "command ",
            "exec numactl --cpunodebind=0 ",
            "timeout -k 5 1h ",
            "setsid -w ",
            "A=1 exec ",
            'env -i A=4 PATH="$PATH" ',
        )
        return before + self.start()

    def server(self) -> str:
        command = self.wrapped()
        tail = self.pick(
            "",
            "",
            "",
            " 2>&1",
            " > /dev/null",
            " 2>&1 | tee /dev/null",
            " &> /dev/null",
            " >/dev/null 2>&1",
            " < /dev/null",
            " | cat",
            " # behind it",
            " |& cat",
        )
        line = command + tail
        block = self.pick(
            "plain",
            "plain",
            "plain",
            "background",
            "if",
            "else",
            "case",
            "and",
            "or",
            "group",
            "sub",
            "function",
            "eval",
            "nested",
            "loop",
            "ne",
        )
        if tail.startswith(" #") and block not in {"plain", "if"}:
            block = "plain"
        return self._placed(block, line)

    def _placed(self, block: str, line: str) -> str:
        if block == "background":
            return f"{line} &\n" + self.pick("wait $!", "wait", "PID=$!\nwait $PID")
        if block == "if":
            return f"if {self.test()}; then\n  {line}\nelse\n  {self.start()} --else\nfi"
        if block == "case":
            return f'case "$TP" in\n 4) {line} ;;\n *) {self.start()} --other ;;\nesac'
        if block == "nested":
            quoted = line.replace("'", "'\\''")
            flags, args = self.pick("-c", "-ec", "-eo pipefail -c"), self.pick("", "zero one two")
            return f"{self.pick('', 'exec ')}bash {flags} '{quoted}' {args}"
        shapes = {
            "plain": line,
            "else": f"if false; then\n  {self.start()} --then\nelse\n  {line}\nfi",
            "and": f"{self.pick('true', 'pip install q', '[ 1 = 1 ]')} && {line}",
            "or": f"{self.pick('false', '[ 1 = 2 ]')} || {line}",
            "group": f"{{ {line}\n}}",
            "sub": f"( {line}\n)",
            "function": f"main() {{\n  {line}\n}}\nmain {self.words(2)}",
            "eval": 'C="vllm serve \\"$MODEL\\" --port $PORT"\neval "$C"',
            "loop": f"while true; do\n  {line}\n  sleep 5\ndone",
            "ne": f'CMD="vllm serve $MODEL"\n$CMD {self.words(2)}',
        }
        return shapes[block]

    def epilogue(self) -> str:
        return self.pick(
            "sleep infinity",
            "wait",
            "echo done",
            "exit 0",
            "tail -f /dev/null",
            "exit $?",
            "while true; do sleep 60; done",
        )
