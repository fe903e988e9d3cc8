"""The `tinyc` command: its verbs, each with the function that adds its options."""

import argparse
from collections.abc import Callable, Mapping
from typing import NoReturn

from rich_argparse import RawDescriptionRichHelpFormatter

from tinyc.compiler.arguments_compile import (
    add_compile,
    add_plan,
    add_profile,
    add_run,
    add_tune,
    add_verify,
)
from tinyc.compiler.arguments_quantize import add_prune, add_quantize
from tinyc.compiler.json_text import json_text

Verb = Callable[[argparse.Namespace], int]  # runs a verb; the exit status
EXAMPLES = """\
examples:
  tinyc compile kws.onnx --target cortex-m4
  tinyc compile kws.onnx vww.onnx --target cortex-m4 --share-arena
  tinyc run     kws.onnx --target cortex-m4 --input samples.npz
  tinyc profile kws.onnx --target cortex-m4 --clock 120MHz
  tinyc verify  kws.onnx --target rv32imc --data eval.npz
  tinyc plan    kws.onnx --target cortex-m4 --io arena
  tinyc tune    kws.onnx --target cortex-m4 --minutes 5
  tinyc quantize kws.onnx --data calib.npz -o kws_int8.onnx
  tinyc prune    kws.onnx --data calib.npz --target cortex-m4 --max-loss 1 -o kws_pruned.onnx
  tinyc doctor
"""


class _JsonParser(argparse.ArgumentParser):
    """Says what is wrong in JSON too."""

    def error(self, message: str) -> NoReturn:
        fields = {"code": "wrong-usage", "message": message, "where": self.prog}
        print(json_text({"error": {**fields, "help": f"see `{self.prog} --help`"}}))
        super().error(message)


def make_parser(run: Mapping[str, Verb], in_json: bool = False) -> argparse.ArgumentParser:
    """The parser of the whole command; `args.verb` becomes the function of the verb in `run`.

    in_json  whether wrong usage is said in JSON
    """
    parser = (_JsonParser if in_json else argparse.ArgumentParser)(
        prog="tinyc",
        description="Compile ONNX and TensorFlow Lite models to plain C for microcontrollers.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="command", required=True, metavar="VERB")

    def verb(name: str, help: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name, help=help, description=help, formatter_class=RawDescriptionRichHelpFormatter
        )
        sub.add_argument("--json", action="store_true", help="print JSON instead of tables")
        sub.set_defaults(verb=run[name])
        return sub

    add_compile(verb("compile", "write C files for a model, or for several of one firmware"))
    add_run(verb("run", "run the compiled model on the emulated core: outputs, cycles, stack"))
    add_profile(verb("profile", "say what each layer takes: cycles, RAM, flash"))
    add_verify(verb("verify", "compare the compiled model with onnxruntime on data"))
    add_plan(verb("plan", "list plans to choose from: RAM, cycles, flash; draw one's memory map"))
    add_tune(verb("tune", "measure schedules of the model's kernels; compile uses the best"))
    add_quantize(verb("quantize", "quantize a float model to int8 by samples: ONNX in, ONNX out"))
    add_prune(
        verb("prune", "remove channels of a float model that matter least: ONNX in, ONNX out")
    )
    verb("targets", "list the targets")
    verb("ops", "list the ONNX operators, and how many of ONNX's test cases pass")
    verb("doctor", "say which compilers and emulators are here, and how to get the rest")
    return parser
