"""Command: tune a model by rewards for its own answers, with TRL's GRPOTrainer.

python -m sft.grpo --config sft/configs/NAME.yaml [--learning_rate 1e-6 ...]
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evaluation.answers import Checker
from evaluation.model import check_vllm
from sft import command
from sft.checkpoints import WholeCheckpoints
from sft.config import GrpoData
from sft.logprobs import LogsGap
from sft.model import loading, set_stop
from sft.session import Algorithm, Examples, Session
from sft.speed import CountsLater
from tinymathreason import cli
from tinymathreason.chatml import conversation
from tinymathreason.cli import InputError
from tinymathreason.control_tokens import control_ids
from tinymathreason.latex import plain_number
from tinymathreason.records import tuning

if TYPE_CHECKING:
    from sft.problems import Problem
    from sft.settings import Settings


class Grpo(Algorithm[GrpoData]):
    """Group relative policy optimisation with the rewards of `sft.rewards`."""

    record_class = tuning.GrpoRecord
    data_class = GrpoData
    trl_config = "GRPOConfig"

    def __init__(self) -> None:
        self._judge: Checker | None = None

    def check(self, settings: "Settings[GrpoData]") -> None:
        """Refuse options of TRL that break a run, naming what to set instead."""
        training = settings.training
        if training.reward_weights is not None:
            raise InputError("reward_weights: our key is rewards, a weight by name")
        if training.use_vllm:
            check_vllm("use_vllm")
        weights = settings.model.dtype or "float32"
        cast = "bfloat16" if training.bf16 else "float16" if training.fp16 else weights
        if training.use_transformers_continuous_batching and cast != weights:
            raise InputError(
                f"use_transformers_continuous_batching: TRL converts the {weights} weights that "
                f"are trained to {cast} for it; leave it out"
            )
        # A checkpoint has no completions: a run that resumes between two samplings would sample
        # once more than an uninterrupted one.
        cycle = training.steps_per_generation * training.num_iterations
        steps = -(-cycle // training.gradient_accumulation_steps)
        if training.save_strategy == "steps" and training.save_steps % steps:
            raise InputError(
                f"save_steps {training.save_steps}: must be a multiple of {steps}, the steps "
                "between two samplings, or a resumed run would differ from an uninterrupted one"
            )

    def load(self, session: Session[GrpoData]) -> Examples:
        """The different problems of all sources."""
        from datasets import Dataset

        from sft.problems import load

        data = session.settings.data
        problems, counts = load(data, control_ids(session.tokenizer))
        check_batch(session.settings.training, len(problems))
        # Only LaTeX needs math-verify, so it need not be installed for plain numbers.
        if any(plain_number(problem.answer) is None for problem in problems):
            self._judge = session.resources.enter_context(Checker())
        return Examples(
            Dataset.from_list(rows(problems)),
            {"problems": hashlib.sha256(json.dumps(rows(problems)).encode()).hexdigest()},
            {
                "counts": {name: dict(entry) for name, entry in counts.items()},
                "problems": len(problems),
                "rewards": data.rewards,
            },
        )

    def make_trainer(self, session: Session[GrpoData], examples: Examples) -> Any:
        """TRL's GRPOTrainer with our rewards, and with an order of problems that can be resumed."""
        from transformers import AutoModelForCausalLM
        from trl import GRPOTrainer, get_quantization_config

        from sft.rewards import Reward
        from sft.sampler import cache_kind

        class Trainer(LogsGap, CountsLater, WholeCheckpoints, GRPOTrainer):  # type: ignore[misc]
            def _get_train_sampler(self, dataset: Any = None) -> Any:
                sampler = super()._get_train_sampler(dataset)
                if sampler.shuffle:
                    # TRL's shuffle continues from epoch to epoch; a resumed run would restart it.
                    sampler.set_epoch = lambda n: sampler.generator.manual_seed(self.args.seed + n)
                return sampler

        training, model = session.settings.training, session.settings.model
        rewards = session.settings.data.rewards
        if training.cache_implementation is None:
            rows = training.per_device_train_batch_size * training.steps_per_generation
            if cache_kind("auto", training.device.type, rows) == "static":
                training.cache_implementation = "static"
        training.reward_weights = list(rewards.values())
        options = training.model_init_kwargs
        with loading(model.model_name_or_path):
            policy = AutoModelForCausalLM.from_pretrained(
                model.model_name_or_path,
                quantization_config=get_quantization_config(model),
                **options,
            )
        # TRL loads the reference model with them, which only a divergence penalty needs.
        training.model_init_kwargs = options if training.beta else None
        # Already now, because the trainer reads from the model what ends a sampled answer.
        set_stop(policy, session.tokenizer)
        if training.use_vllm:
            ends = {"stop_token_ids": policy.generation_config.eos_token_id}
            training.generation_kwargs = ends | (training.generation_kwargs or {})
        reward_funcs = [Reward(name, self._judge) for name in rewards]
        return session.make_trainer(Trainer, examples, policy, reward_funcs=reward_funcs)

    def record(self) -> dict[str, Any]:
        """The number of answers that could not be judged, by reason."""
        return {"unjudged": dict(self._judge.failures) if self._judge else {}}

    def summary(self, record: Any) -> str:
        """A line for each source."""
        return "\n".join(
            f"{name}: {', '.join(f'{count:,} {what}' for what, count in entry.items())}"
            for name, entry in record.counts.items()
        )


def check_batch(training: Any, problems: int) -> None:
    """Raise `InputError` if a batch needs more problems than there are.

    ``training`` is a GRPOConfig, ``problems`` the number of different problems.
    """
    needed = training.generation_batch_size // training.num_generations
    if needed > problems:
        raise InputError(f"sources: {problems} problems, but a batch needs {needed}; add some")


def rows(problems: Sequence["Problem"]) -> list[dict[str, Any]]:
    """Rows for TRL: ``prompt``, a conversation up to the answer, and the right ``answer``."""
    return [{"prompt": conversation(p.question), "answer": p.answer} for p in problems]


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    description = "Tune a model by rewards for its own answers, with TRL's GRPOTrainer."
    command.run(Grpo(), argv, "sft.grpo", description, "rewards.format=0.1")


if __name__ == "__main__":
    cli.run(main)
