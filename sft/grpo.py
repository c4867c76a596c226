"""Command: tune a model by rewards for its own answers, with TRL's GRPOTrainer.

python -m sft.grpo --config sft/configs/NAME.yaml [--learning_rate 1e-6 ...]
"""

import contextlib
import hashlib
import importlib.util
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.answers import Checker
from sft import command
from sft.config import GrpoData
from tinymathreason import cli
from tinymathreason.chatml import conversation
from tinymathreason.cli import InputError
from tinymathreason.latex import plain_number

if TYPE_CHECKING:
    from sft.problems import Problem
    from sft.settings import Settings

RECORD = "grpo.json"
"""File in the finished model's folder that tells how it was made."""


def train(settings: "Settings[GrpoData]") -> dict[str, Any]:
    """Train, write ``output_dir/model`` and return its record; an interrupted run continues.

    The folder holds the model with any adapter merged, its tokenizer with the chat template, a
    generation configuration that stops at the end of an answer, the curves, and ``grpo.json``. It
    appears when all is written. Of several processes, each calls this and the main one writes.

    Raises `InputError` for what `check` finds, for a folder that holds another run or in which
    another process is training, and for a full disk, which leaves the last checkpoint whole.
    """
    from sft import checkpoints
    from sft.callbacks import measured
    from sft.finish import finish
    from sft.model import load_tokenizer, tokenizer_hash
    from sft.problems import load
    from tinymathreason.files import locked
    from tinymathreason.provenance import model_hash

    started = time.monotonic()
    data, training, model = settings.data, settings.training, settings.model
    state, output, start = training.distributed_state, settings.output, model.model_name_or_path
    with contextlib.ExitStack() as stack:
        if state.is_main_process:
            stack.enter_context(locked(output, "training"))
        checkpoints.check_owner(output, settings.inputs)
        tokenizer = load_tokenizer(start, data.chat_template, model.model_revision)
        problems, counts = load(data)
        check(training, model, len(problems))
        # math-verify, which judges LaTeX, need not be there for numbers.
        judge = stack.enter_context(Checker()) if any(map(_is_latex, problems)) else None
        trainer = _trainer(settings, tokenizer, problems, judge)
        identity = {
            "base": model_hash(Path(start)) if Path(start).is_dir() else model.model_revision,
            "data": hashlib.sha256(json.dumps(rows(problems)).encode()).hexdigest(),
            "tokenizer": tokenizer_hash(tokenizer),
            "processes": state.num_processes,
            **measured(trainer),
        }
        checkpoints.train(trainer, output, settings.inputs | identity, state)
        record = {
            **identity,
            "counts": {name: dict(found) for name, found in counts.items()},
            "problems": len(problems),
            "rewards": data.rewards,
            "unjudged": dict(judge.failures) if judge else {},
            "seconds": started,
        }
        return finish(trainer, tokenizer, model, output, RECORD, record)


def check(training: Any, model: Any, problems: int) -> None:
    """Raise `InputError` for TRL's options that break a run of ours, naming what to set.

    ``training`` is a GRPOConfig, ``model`` a ModelConfig, ``problems`` how many different ones
    there are.
    """
    if (model.load_in_4bit or model.load_in_8bit) and not model.use_peft:
        raise InputError("quantised weights cannot be trained; add an adapter: use_peft: true")
    if training.reward_weights is not None:
        raise InputError("reward_weights: our key is rewards, a weight by name")
    if training.eval_strategy != "no":
        raise InputError("eval_strategy: there are no rows for it; our key is accuracy")
    if training.use_vllm and importlib.util.find_spec("vllm") is None:
        raise InputError("use_vllm: true needs: pip install 'trl[vllm]'")
    asked = training.generation_batch_size // training.num_generations
    if asked > problems:
        raise InputError(f"sources: {problems} problems, but {asked} are asked at a time; add some")
    # A checkpoint has no completions: resumed between two samplings, a run would sample once more.
    cycle = training.steps_per_generation * training.num_iterations
    steps = -(-cycle // training.gradient_accumulation_steps)
    if training.save_strategy == "steps" and training.save_steps % steps:
        raise InputError(
            f"save_steps {training.save_steps}: must be a multiple of {steps}, the steps between "
            "two samplings, or a resumed run would differ from an uninterrupted one"
        )


def rows(problems: Sequence["Problem"]) -> list[dict[str, Any]]:
    """What TRL reads: ``prompt``, a conversation up to the answer, and the right ``answer``."""
    return [{"prompt": conversation(p.question), "answer": p.answer} for p in problems]


def _is_latex(problem: "Problem") -> bool:
    return plain_number(problem.answer) is None


def _trainer(
    settings: "Settings[GrpoData]",
    tokenizer: Any,
    problems: list["Problem"],
    judge: Checker | None,
) -> Any:
    """TRL's trainer for the settings, with our rewards and callbacks."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOTrainer, get_peft_config, get_quantization_config

    from sft.callbacks import AccuracyCallback, show_progress
    from sft.checkpoints import WholeCheckpoints
    from sft.model import check_vocabulary, making, set_stop
    from sft.rewards import Reward

    class Trainer(WholeCheckpoints, GRPOTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            sampler = super()._get_train_sampler(dataset)
            if sampler.shuffle:
                # TRL's shuffle goes on from epoch to epoch: resumed, it would begin again.
                sampler.set_epoch = lambda n: sampler.generator.manual_seed(self.args.seed + n)
            return sampler

    data, training, model = settings.data, settings.training, settings.model
    training.reward_weights = list(data.rewards.values())
    options = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        "use_safetensors": True,
        **(training.model_init_kwargs or {}),
    }
    with making(model.model_name_or_path):
        policy = AutoModelForCausalLM.from_pretrained(
            model.model_name_or_path, quantization_config=get_quantization_config(model), **options
        )
    # TRL loads with them the reference model, which only a penalty on the divergence needs.
    training.model_init_kwargs = options if training.beta else None
    check_vocabulary(tokenizer, policy.get_input_embeddings().num_embeddings)
    # Before the trainer is made: it takes from the model what ends a sampled answer.
    set_stop(policy, tokenizer)
    if training.use_vllm:
        ends = {"stop_token_ids": policy.generation_config.eos_token_id}
        training.generation_kwargs = ends | (training.generation_kwargs or {})
    with making(model.model_name_or_path):
        trainer = Trainer(
            model=policy,
            reward_funcs=[Reward(name, judge) for name in data.rewards],
            args=training,
            train_dataset=Dataset.from_list(rows(problems)),
            processing_class=tokenizer,
            peft_config=get_peft_config(model),
        )
    show_progress(trainer)
    if data.accuracy is not None:
        trainer.add_callback(AccuracyCallback(trainer, tokenizer, data.accuracy))
    return trainer


def _told(counts: dict[str, dict[str, int]]) -> Iterator[str]:
    for name, found in counts.items():
        yield f"{name}: {', '.join(f'{count:,} {what}' for what, count in found.items())}"


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    described = "Tune a model by rewards for its own answers, with TRL's GRPOTrainer."
    parts = command.Trained(GrpoData, train, _told)
    command.run(argv, "sft.grpo", described, "rewards.format=0.1", "GRPOConfig", lambda: parts)


if __name__ == "__main__":
    cli.run(main)
