"""Evaluates a model on a benchmark: metrics with their intervals, and every answer."""

import hashlib
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evaluation import catalogue, decoding, groups, memory, model, variants
from evaluation.catalogue import Benchmark
from evaluation.config import EvalConfig
from evaluation.interval import estimate
from evaluation.pass_at_k import majority, pass_at_k
from evaluation.responses import Journal, check_lengths, respond
from evaluation.scoring import checker
from tinymathreason import provenance
from tinymathreason.cli import InputError
from tinymathreason.records.evaluation import Dataset, Decoding, MetricEstimate, SampleRecord

VLLM_REQUESTS = 2048
"""Requests of one call of vLLM."""


def evaluate(
    folder: Path,
    config: EvalConfig,
    journal: Path | None = None,
    identity: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], list[SampleRecord]]:
    """The fields of `Results` but those of the identity, and one sample a problem.

    ``journal`` is a file of the finished answers, from which a killed evaluation of the same
    ``identity`` (the hashes of its inputs) continues. Raises `InputError` for anything wrong with
    the model, the data or the configuration.
    """
    benchmark = catalogue.find(config.task)
    started = time.monotonic()
    # Published figures for multiple choice use plain text, for tuned models too.
    usual = "plain" if benchmark.chat == benchmark.plain else None
    form = model.check_form(model.load_tokenizer(folder), config.form or usual, folder)
    # Before the weights: wrong data must not cost the time to load them.
    tasks = catalogue.load(config.task, form, config.data, config.shots, config.limit, config.seed)
    lm = model.open_lm(folder, config.backend, config.batch_size or memory.MOST)
    ends = decoding.stop_ids(lm.configured, lm.tokenizer, form)
    for task in tasks:
        _set_generation(task, config, lm.max_length, ends)
        task.build_all_requests(
            # With variants, the limit is that of the originals, which the catalogue applies.
            limit=None if benchmark.variants else config.limit,
            apply_chat_template=form == "chat",
            fewshot_as_multiturn=form == "chat",
            chat_template=lm.apply_chat_template if form == "chat" else None,
            tokenizer_name=lm.tokenizer_name if form == "chat" else "",
        )
    requests = [request for task in tasks for request in task.instances]
    responses, too_long, size = _respond(lm, requests, tasks[0], config, journal, identity)
    samples = _samples(tasks, requests, responses, benchmark)
    metrics = _metrics(samples)
    documents = [request.doc for request in requests]
    template = lm.tokenizer.chat_template if form == "chat" else None
    name = tasks[0].task_name if len(tasks) == 1 else config.task
    result = {
        "task": config.task,
        "metric": benchmark.metric,
        **dict(metrics[benchmark.metric]),
        "interval": "Wilson" if _clusters(samples) is None else "clustered Wilson",
        "metrics": metrics,
        "groups": groups.estimates(samples, benchmark.metric),
        "differences": variants.differences(samples),
        "form": form,
        "shots": tasks[0].get_config("num_fewshot"),
        "prompt_version": f"{name} {tasks[0].VERSION}, lm-eval {version('lm-eval')}",
        "template_sha256": template and hashlib.sha256(template.encode()).hexdigest(),
        "dataset": Dataset(
            path=config.data or tasks[0].get_config("dataset_path"),
            name=benchmark.subset or None,
            sha256=hashlib.sha256(json.dumps(documents, sort_keys=True).encode()).hexdigest(),
        ),
        "decoding": Decoding(
            **_decoding(tasks[0]),
            samples=config.samples,
            seed=config.seed,
            batch_size=size,
            backend=config.backend,
            dtype=model.device_and_dtype()[1],
        ),
        "ignored_settings": decoding.ignored(lm.configured.generation_config),
        "cut_prompts": too_long,
        "seconds": round(time.monotonic() - started, 1),
        "provenance": provenance.record(),
    }
    return result, samples


def _decoding(task: Any) -> dict[str, Any]:
    """Every setting of a task's decoding."""
    if task.OUTPUT_TYPE != "generate_until":
        return {"by": "likelihood"}
    return {"by": "generation", **decoding.NEUTRAL, **task.get_config("generation_kwargs")}


def _set_generation(task: Any, config: EvalConfig, context: int, ends: list[int]) -> None:
    """Set a task's decoding; a multiple-choice task has none."""
    if task.OUTPUT_TYPE != "generate_until":
        if config.samples > 1:
            raise InputError(f"samples: {config.task} is multiple choice, which is not sampled")
        return
    own = task.get_config("generation_kwargs")
    longest = config.max_new_tokens or min(own.get("max_gen_toks", 256), context // 2)
    if longest >= context:
        raise InputError(f"max-new-tokens: {longest} leave no room in a context of {context}")
    kwargs: dict[str, Any] = {"until": own["until"], "max_gen_toks": longest, "do_sample": False}
    kwargs["stop_token_ids"] = ends
    if config.samples > 1:
        kwargs.update(do_sample=True, temperature=config.temperature, top_k=0, top_p=1.0)
    task.set_config("generation_kwargs", kwargs)


def _respond(
    lm: Any,
    requests: Sequence[Any],
    task: Any,
    config: EvalConfig,
    journal: Path | None,
    identity: dict[str, Any] | None,
) -> tuple[list[list[Any]], int, int]:
    """The responses to each request, how many prompts were cut, and the size of the first batch."""
    texts = [request.args[0] for request in requests]
    lengths = [len(lm.tok_encode(text)) for text in texts]
    room = 0
    if task.OUTPUT_TYPE == "generate_until":
        room = task.get_config("generation_kwargs")["max_gen_toks"]
    else:
        ends = [len(lm.tok_encode(request.args[1])) for request in requests]
        # The last token of a choice is predicted but not read.
        lengths = [length + end - 1 for length, end in zip(lengths, ends, strict=True)]
    shots = task.get_config("num_fewshot")
    too_long = check_lengths(lengths, lm.max_length - room, shots, room, lm.max_length)
    size = _batch_size(lm, config, room)
    prompts = [(text, request.args[1]) for text, request in zip(texts, requests, strict=True)]
    key = (identity, asdict(config), prompts, model.device_and_dtype())
    known = hashlib.sha256(repr(key).encode()).hexdigest()
    kept = Journal(journal, known) if journal else None
    try:
        responses = respond(lm, requests, lengths, config.samples, size, config.seed, kept)
        return responses, too_long, size(max(lengths))
    finally:
        if kept:
            kept.close()


def _batch_size(lm: Any, config: EvalConfig, room: int) -> Callable[[int], int]:
    """How many prompts of at most so many tokens are answered at once, with ``room`` for each."""
    if config.backend == "vllm":
        # vLLM makes its own batches; the requests of one call are what a kill can lose.
        return lambda length: VLLM_REQUESTS
    on_gpu = model.device_and_dtype()[0] == "cuda"
    rows = memory.rows_of(lm.model) if on_gpu and config.batch_size is None else None
    if rows is None:
        return lambda length: config.batch_size or memory.ON_CPU
    return lambda length: rows.fit(min(length, lm.max_length - room), room, choices=room == 0)


def _samples(
    tasks: Sequence[Any],
    requests: Sequence[Any],
    responses: Sequence[Sequence[Any]],
    benchmark: Benchmark,
) -> list[SampleRecord]:
    """The prompt and the answers of each problem, with the verdict on every answer."""
    answers = {id(request): given for request, given in zip(requests, responses, strict=True)}
    samples: list[SampleRecord] = []
    first_versions: dict[str, int] = {}
    for task in tasks:
        by_problem = defaultdict(list)
        for request in task.instances:
            by_problem[request.doc_id].append(request)
        rounds = []
        for number in range(len(responses[0])):
            for request in task.instances:
                request.resps, request.filtered_resps = [answers[id(request)][number]], {}
            task.apply_filters()
            rounds.append(
                [_verdict(task, problem, benchmark.metric) for problem in by_problem.values()]
            )
        for verdicts in zip(*rounds, strict=True):
            first, number = verdicts[0], len(samples)
            original = first["document"].get("original")
            if of := first["document"].get(benchmark.versions_of):
                original = first_versions.setdefault(of, number)
            samples.append(
                SampleRecord(
                    id=number,
                    subtask=task.task_name,
                    groups=groups.of(first["document"], benchmark.groups),
                    original=original if original != number else None,
                    question=first["question"],
                    prompt=first["prompt"],
                    expected=first["expected"],
                    answer=first["answer"],
                    correct=first["correct"],
                    metrics={
                        name: statistics.fmean(verdict["metrics"][name] for verdict in verdicts)
                        for name in first["metrics"]
                    },
                    completions=[verdict["completion"] for verdict in verdicts],
                    all_answers=[verdict["answer"] for verdict in verdicts],
                    all_correct=[verdict["correct"] for verdict in verdicts],
                )
            )
    return samples


def _verdict(task: Any, requests: Sequence[Any], primary: str) -> dict[str, Any]:
    """One answer to one problem, judged by lm-eval's filters and metrics."""
    document = requests[0].doc
    metrics: dict[str, float] = {}
    answer = None
    for name in requests[0].filtered_resps:
        given = [request.filtered_resps[name] for request in requests]
        for metric, value in task.process_results(document, given).items():
            ours = catalogue.metric_name(metric, name)
            metrics[ours] = float(value)
            if ours == primary and len(requests) == 1:
                answer = None if given[0] in (None, "[invalid]") else str(given[0])
    target = task.doc_to_target(document)
    if len(requests) == 1:
        # Of a worked solution, its last line.
        completion, expected = str(requests[0].resps[0]), str(target).split("#### ")[-1]
    else:
        choices = task.doc_to_choice(document)
        scores = [request.resps[0][0] for request in requests]
        if primary == "acc_norm":
            scores = [score / len(choice) for score, choice in zip(scores, choices, strict=True)]
        completion = answer = choices[scores.index(max(scores))]
        expected = choices[target] if isinstance(target, int) else str(target)
    return {
        "document": document,
        "question": _question(document),
        "prompt": requests[0].args[0],
        "completion": completion,
        "expected": expected,
        "answer": answer,
        "correct": metrics[primary] == 1.0,
        "metrics": metrics,
    }


def _question(document: dict[str, Any]) -> str:
    """A problem's own text, without shots or template."""
    if "body" in document and not str(document["question"]).startswith(str(document["body"])):
        return f"{document['body']} {document['question']}"
    return next(str(document[k]) for k in ("question", "problem", "query") if k in document)


def _metrics(samples: Sequence[SampleRecord]) -> dict[str, MetricEstimate]:
    """Value, 95 % interval and n of every metric.

    With several answers to a problem, a metric is their mean. pass@k is the chance that one of k
    answers is right; majority is the share of problems whose most frequent answer is right.
    """
    clusters = _clusters(samples)
    metrics = {
        name: estimate([sample.metrics[name] for sample in samples], clusters)
        for name in samples[0].metrics
    }
    count = len(samples[0].completions)
    if count > 1:
        right = [sum(sample.all_correct) for sample in samples]
        for k in sorted({*(2**power for power in range(count.bit_length())), count}):
            metrics[f"pass@{k}"] = estimate([pass_at_k(count, c, k) for c in right], clusters)
        majorities = [_majority(sample) for sample in samples]
        metrics[f"majority@{count}"] = estimate(majorities, clusters)
    return metrics


def _clusters(samples: Sequence[SampleRecord]) -> list[int] | None:
    """The problem that each sample is a version of; None where every one is its own."""
    if all(sample.original is None for sample in samples):
        return None
    return [s.id if s.original is None else s.original for s in samples]


def _majority(sample: SampleRecord) -> float:
    """Whether the most frequent of a problem's answers is right."""
    chosen = majority(sample.all_answers, checker().correct)
    return float(chosen is not None and sample.all_correct[chosen])
