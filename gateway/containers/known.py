"""The one table of model servers: the programs, modules and images that they are known by, and what they are.

vLLM, llm-d-inference-sim and simfleet itself take the same flags. SGLang and TensorRT-LLM are served by the
simulator with what has a counterpart there. Others have `about`, and are refused by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """One server."""

    kind: str  # whose flags it takes: vllm, sglang, trtllm-serve; another's own name
    programs: tuple[str, ...] = ()  # whose command line needs the word `serve` where it has one
    modules: tuple[str, ...] = ()  # that `python -m` starts
    image: str = ""  # a pattern of its images
    entrypoint: tuple[str, ...] = ()  # what its images start by themselves
    about: str = ""  # what it is, where it is not imitated
    serves: bool = True  # models; a router does not

    @property
    def is_imitated(self) -> bool:
        return not self.about


_DYNAMO = "a worker of NVIDIA Dynamo, which speaks to its frontend and not HTTP"
_LLM_D = r"(^|/)llm-d(-(cuda|rocm|xpu|cpu|tpu|hpu|aws|gb200|dev))*(:|@|$)"
_HF = "KServe's Hugging Face server"
# The first whose image fits an image is its server.
TABLE: tuple[Known, ...] = (
    Known("nim", image=r"(^|/)nim/|/nim-", about="NVIDIA NIM, which starts by its own variables"),
    Known("text-generation-launcher", ("text-generation-launcher", "tgi"), image="text-generation-inference",
          about="Hugging Face TGI"),
    Known("text-embeddings-router", ("text-embeddings-router",), image="text-embeddings-inference",
          about="Hugging Face TEI"),
    Known("huggingfaceserver", (), ("huggingfaceserver",), "huggingfaceserver", about=_HF),
    Known("tritonserver", ("tritonserver",), image="(^|/)tritonserver", about="NVIDIA Triton"),
    Known("ollama", ("ollama",), image="(^|/)ollama(:|@|$)", about="Ollama"),
    Known("llama-server", ("llama-server",), image=r"(^|/)llama\.cpp", about="llama.cpp's server"),
    Known("lmdeploy", ("lmdeploy",), image="(^|/)lmdeploy", about="LMDeploy"),
    Known("mlserver", ("mlserver",), ("mlserver",), "(^|/)mlserver", about="Seldon's MLServer"),
    *(Known(m, (), (m,), about=_DYNAMO) for m in ("dynamo.vllm", "dynamo.sglang", "dynamo.trtllm",
                                                  "dynamo.mocker")),
    Known("dynamo.frontend", (), ("dynamo.frontend",), serves=False,
          about="NVIDIA Dynamo's frontend, a router"),
    Known("vllm.entrypoints.api_server", (), ("vllm.entrypoints.api_server",),
          about="vLLM's demo server, whose API is /generate"),
    Known("vllm.entrypoints.grpc_server", (), ("vllm.entrypoints.grpc_server",), about="vLLM's gRPC server"),
    Known("vllm", ("llm-d-inference-sim",), image="llm-d-inference-sim", entrypoint=("llm-d-inference-sim",)),
    Known("vllm", ("simfleet",), image="simfleet", entrypoint=("simfleet", "serve")),
    Known("sglang", ("sglang",), ("sglang.launch_server", "sglang.srt.entrypoints.http_server"), "sglang"),
    Known("trtllm-serve", ("trtllm-serve",), image="tensorrt-llm"),
    Known("vllm", ("vllm",), ("vllm.entrypoints.openai.api_server",), "vllm|" + _LLM_D, ("vllm", "serve")),
)  # fmt: skip
# Programs that do other things without the word `serve`.
SERVING = frozenset({"vllm", "simfleet", "sglang", "ollama", "lmdeploy"})
PROGRAMS = {program: known for known in TABLE for program in known.programs}
MODULES = {module: known for known in TABLE for module in known.modules}
BY_KIND = {known.kind: known for known in TABLE}

# Images named after a server that are none.
_NO_SERVER = re.compile(r"router|epp|endpoint-picker|proxy|sidecar|bench|gateway|loadgen|exporter|operator")
_WORDS = "|".join([
    *(rf"{re.escape(p)}\s+serve\b" if p in SERVING else rf"{re.escape(p)}(?=\s|$)" for p in PROGRAMS
      if PROGRAMS[p].serves),
    *(re.escape(m) + r"(?=\s|$)" for m in MODULES if MODULES[m].serves),
])  # fmt: skip
_STARTS = re.compile(rf"(?<![\w.-])(?:{_WORDS})|(?:^|\s)--(?:model|served-model-name|model-path)[=\s]")
# vLLM's benchmark, and what else the simulator's own image and pickers' do
_OTHER = re.compile(
    r"\bvllm bench\b|^(?:\S*/)?(?:loadgen|epp)\b|\bsimfleet (?!serve\b)\w|(?:^|\s)--?pool-?[nN]ame\b"
)


def of_image(image: str) -> Known | None:
    """The server of an image, by its name; None for any other."""
    return next((known for known in TABLE if known.image and re.search(known.image, image)), None)


def serves_models(image: str, text: str, *, has_command: bool) -> bool:
    """Whether a container of this image and these words, in one text, is a model server.

    By its program or flags, else by its image, unless a program of its own stands before that.
    """
    if _OTHER.search(text):
        return False
    if _STARTS.search(text):
        return True
    if has_command and not text.startswith("-"):
        return False
    path = image.partition("@")[0]
    name = path.rpartition("/")[2].partition(":")[0]
    known = of_image(path)
    named = known is not None and (not known.is_imitated or re.search(known.image, name) is not None)
    return named and not _NO_SERVER.search(name)
