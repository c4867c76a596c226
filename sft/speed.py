"""The speed of a training in a line, and steps that wait for nothing.

A device works behind the program that feeds it. Whoever reads a number from the device waits until
it has caught up, and then it is idle until the next operations arrive.
"""

from typing import Any

from tinymathreason.records.tuning import Speed


def summary(speed: Speed) -> str:
    """The speed in one line."""
    line = f"start-up {speed.startup_seconds:.1f} s, first step {speed.first_step_seconds:.1f} s"
    if speed.tokens_per_second:
        line += f", then {speed.tokens_per_second:,.0f} tokens/s ({speed.steady_steps:,} steps)"
    return line


def synchronise(device: Any) -> None:
    """Wait until the device has caught up; a CPU always has."""
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize()


class CountsLater:
    """Mixin for transformers' Trainer: reads the number of tokens only when it is needed.

    The Trainer itself reads it from the device after every micro-batch.
    """

    step_tokens: dict[int, int]
    """Tokens of each step since the last reading but one, by the number of steps before it."""

    def _track_num_input_tokens(self, inputs: Any) -> None:
        import torch

        trainer: Any = self
        if trainer.args.include_num_input_tokens_seen == "no":
            return
        if "attention_mask" in inputs:
            tokens = inputs["attention_mask"].sum()
        elif "input_ids" in inputs:
            # Padding may be the token that ends a turn too: only what fills up a row is padding.
            used = inputs["input_ids"] != trainer.processing_class.pad_token_id
            if "labels" in inputs:
                used |= inputs["labels"] != -100
            tokens = (used.flip(-1).cumsum(-1) > 0).sum()
        else:
            return
        vars(self).setdefault("_uncounted", []).append(
            (trainer.state.global_step, tokens.to(torch.int64))
        )

    def count_tokens(self) -> None:
        """Add the tokens of the last micro-batches to the state; every process calls this."""
        import torch

        trainer: Any = self
        self.step_tokens = {}
        uncounted = vars(self).pop("_uncounted", [])
        if not uncounted:
            return
        counts = torch.stack([tokens for _, tokens in uncounted])
        totals = trainer.accelerator.gather(counts[None]).sum(0).tolist()
        for (step, _), tokens in zip(uncounted, totals, strict=True):
            self.step_tokens[step] = self.step_tokens.get(step, 0) + tokens
        trainer.state.num_input_tokens_seen += sum(totals)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        control = self.control  # type: ignore[attr-defined]
        if control.should_log or control.should_save or control.should_evaluate:
            self.count_tokens()
        super()._maybe_log_save_evaluate(*args, **kwargs)  # type: ignore[misc]

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        self.count_tokens()
        return super()._finalize_training(*args, **kwargs)  # type: ignore[misc]


class MeasuresLater:
    """Mixin for TRL's SFTTrainer: entropy and token accuracy are read when they are logged.

    SFTTrainer itself reads them from the device after every micro-batch. Only packed rows of one
    process on an accelerator are computed here, with the usual loss; the rest is TRL's.
    """

    def applies(self, inputs: Any) -> bool:
        """Whether the loss of ``inputs`` is computed here."""
        trainer: Any = self
        return (
            trainer.args.device.type != "cpu"
            and trainer.accelerator.num_processes == 1
            and trainer.accelerator.parallelism_config is None
            and trainer.args.loss_type == "nll"
            and trainer.label_smoother is None
            and trainer.compute_loss_func is None
            and not trainer.aux_loss_enabled
            and "attention_mask" not in inputs
        )

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The sum of the targets' losses divided by the number of targets of the whole step."""
        import torch

        trainer: Any = self
        if return_outputs or not self.applies(inputs):
            return super().compute_loss(  # type: ignore[misc]
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        targets = outputs.label_mask.sum().clamp(min=1)
        training = trainer.model.training
        metrics = trainer._metrics["train" if training else "eval"]
        metrics["entropy"].append(outputs.entropy.detach().sum() / targets)
        metrics["mean_token_accuracy"].append(outputs.is_top1.sum() / targets)
        if training:
            trainer._total_train_tokens += inputs["position_ids"].shape[1]
        metrics["num_tokens"] = [trainer._total_train_tokens]
        if num_items_in_batch is not None:
            targets = torch.as_tensor(num_items_in_batch).clamp(min=1)
        return -outputs.log_probs.sum() / targets

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Read the measurements and log them."""
        for metrics in self._metrics.values():  # type: ignore[attr-defined]
            for key, values in metrics.items():
                metrics[key] = [
                    float(value) if hasattr(value, "item") else value for value in values
                ]
        super().log(*args, **kwargs)  # type: ignore[misc]
