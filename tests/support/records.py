"""A small example of every record; a test changes what it is about."""

import math
from typing import Any

from tinymathreason.records.base import Part, Record
from tinymathreason.records.contamination import Contamination, SearchedText
from tinymathreason.records.conversion import Conversion, OpenModel, ParityRecord
from tinymathreason.records.evaluation import (
    Dataset,
    Decoding,
    EvalRequest,
    MetricEstimate,
    PairedDifference,
    Results,
    SampleRecord,
)
from tinymathreason.records.examples import (
    ExampleCounts,
    ExampleData,
    ExampleInputs,
    ExamplesManifest,
)
from tinymathreason.records.ladder import (
    AccuracyLink,
    HeldOutRun,
    Interval,
    LadderRange,
    LadderReport,
    ScalingLaw,
    TaskLaw,
)
from tinymathreason.records.ladder_point import (
    AnswerCount,
    HeldOut,
    Likelihood,
    PointRecord,
    SolutionLikelihood,
)
from tinymathreason.records.mixture import (
    BenchmarkRecord,
    Documents,
    Mixture,
    RecipeRecord,
    RecipeSource,
    Shard,
    SourceRecord,
    WeightedSource,
    WrittenFile,
)
from tinymathreason.records.pretraining import Configuration, MixtureHash, StartRecord, Starts
from tinymathreason.records.provenance import Processor, Provenance
from tinymathreason.records.report import (
    Ends,
    Report,
    ReportAccuracy,
    ReportAnswer,
    SourceSummary,
    SplitCurves,
    SplitEnds,
    StageSummary,
    Tokens,
)
from tinymathreason.records.stage import Attempt, Stage
from tinymathreason.records.tuning import (
    DpoRecord,
    GrpoRecord,
    LogEntry,
    PreferenceCounts,
    Preferences,
    SamplingInputs,
    SftRecord,
    TrainerArguments,
    TuningRun,
)

SHA = "0123456789abcdef" * 4
TIME = "2026-01-02T03:04:05+00:00"


def change[T: Part](part: T, **values: Any) -> T:
    """The same record with other values, checked like a new one."""
    return type(part)(**{**dict(part), **values})


def processor(**values: Any) -> Processor:
    return change(
        Processor(
            name="CPU",
            machine="x86_64",
            instruction_sets=["avx2"],
            cores=2,
            limits={},
            threads=None,
        ),
        **values,
    )


def provenance(**values: Any) -> Provenance:
    return change(
        Provenance(
            commit="c0ffee",
            command=["python", "-m", "room.command"],
            versions={"python": "3.12.1"},
            processor=processor(),
            time=TIME,
        ),
        **values,
    )


def shard(**values: Any) -> Shard:
    path = "web/train-00000-of-00001.array_record"
    return change(Shard(path=path, bytes=1_000, sha256=SHA, records=4, tokens=80), **values)


def source(**values: Any) -> SourceRecord:
    return change(
        SourceRecord(
            documents=Documents(read=10, kept=8, rejected={"too_short": 2}),
            bytes=3_000,
            tokens=100,
            lengths={"4": 8},
            shards=[shard(), shard(path="web/eval-00000-of-00001.array_record", tokens=20)],
        ),
        **values,
    )


def weighted_source(**values: Any) -> WeightedSource:
    return change(WeightedSource(format="jsonl", path="web.jsonl", weight=1.0), **values)


def mixture(**values: Any) -> Mixture:
    """A mixture whose one source is ``web``."""
    return change(
        Mixture(
            recipe=RecipeRecord(
                sources={"web": weighted_source()},
                decontaminate=[BenchmarkRecord(path="gsm8k.parquet")],
                max_epochs=4.0,
                output_dir="mixture",
            ),
            inputs={"web.jsonl": (3_000, 1_700_000_000)},
            sources={"web": source()},
            files=[WrittenFile(path="mixture.json", bytes=90, sha256=SHA)],
            vocab_size=256,
            tokens=80,
            sequences=5,
            tokens_until_a_source_ends=80,
            token_budget=80,
            epochs={"web": 1.0},
            num_epoch=1,
            seconds=1.5,
            provenance=provenance(),
        ),
        **values,
    )


def stage(**values: Any) -> Stage:
    return change(
        Stage(
            command="python -m room.command",
            fingerprint=SHA,
            finished=True,
            attempts=[Attempt(started=100.0, ended=101.5)],
            seconds=1.5,
            peak_bytes=2**30,
            commit="c0ffee",
        ),
        **values,
    )


def start(**values: Any) -> StartRecord:
    return change(
        StartRecord(
            provenance=provenance(),
            hosts=1,
            devices=1,
            device="cpu",
            arithmetic="float32",
            changed={},
            mixture=MixtureHash(manifest_sha256=SHA, content_sha256=SHA),
            tokenizer_sha256=SHA,
            resumed_from=None,
            end=TIME,
            outcome="finished",
            step=10,
        ),
        **values,
    )


def starts(*entries: StartRecord) -> Starts:
    return Starts(starts=list(entries) or [start()])


def configuration(**values: Any) -> Configuration:
    return change(
        Configuration(
            base_emb_dim=64,
            base_num_decoder_layers=2,
            per_device_batch_size=4,
            gradient_accumulation_steps=1,
            max_target_length=32,
            opt_type="adamw",
            adam_b1=0.9,
            adam_b2=0.95,
            adam_eps=1e-8,
            adam_weight_decay=0.1,
            gradient_clipping_threshold=1.0,
            learning_rate=3e-4,
            lr_schedule_type="cosine",
            learning_rate_final_fraction=0.1,
            warmup_steps_fraction=0.1,
            dtype="bfloat16",
            weight_dtype="float32",
            steps=10,  # type: ignore[call-arg]  # one of MaxText's other keys
        ),
        **values,
    )


def parity(**values: Any) -> ParityRecord:
    return change(
        ParityRecord(
            max_abs_diff=1e-5,
            scale=10.0,
            mean_kl=1e-12,
            argmax_agreement=1.0,
            positions=1016,
            tolerance=1e-4,
            kl_tolerance=1e-9,
        ),
        **values,
    )


def conversion(**values: Any) -> Conversion:
    return change(
        Conversion(
            checkpoint="pretrain/checkpoints/10",
            checkpoint_sha256=SHA,
            config="overlay.yml",
            tokenizer="mixture/tokenizer",
            tokenizer_sha256=SHA,
            dtype="float32",
            max_shard_bytes=5 * 10**9,
            allow_nonfinite=False,
            sizes={"layers": 2, "rope_theta": 10_000.0},
            parameters=12_345,
            trimmed_vocabulary_rows=0,
            model_sha256=SHA,
            parity=parity(),
            provenance=provenance(),
        ),
        **values,
    )


def open_model(**values: Any) -> OpenModel:
    return change(
        OpenModel(
            name="org/model@c0ffee",
            folder="models/open",
            model_sha256=SHA,
            parameters=1000,
            maxtext={"decoder_block": "llama2"},
            provenance=provenance(),
        ),
        **values,
    )


def estimate(**values: Any) -> MetricEstimate:
    return change(MetricEstimate(value=0.5, low=0.4, high=0.6, n=100), **values)


def request(**values: Any) -> EvalRequest:
    return change(
        EvalRequest(
            task="arithmetic",
            data=None,
            limit=None,
            form=None,
            shots=None,
            samples=1,
            temperature=0.7,
            max_new_tokens=None,
            backend="transformers",
            batch_size=64,
            seed=0,
        ),
        **values,
    )


def decoding(**values: Any) -> Decoding:
    return change(
        Decoding(
            by="generation",
            samples=1,
            seed=0,
            batch_size=64,
            backend="transformers",
            dtype="float32",
            do_sample=False,
            max_gen_toks=48,
        ),
        **values,
    )


def results(**values: Any) -> Results:
    """Of a tuned model; the first metric is ``strict``."""
    return change(
        Results(
            task="arithmetic",
            metric="strict",
            **dict(estimate()),
            interval="Wilson",
            metrics={"strict": estimate(), "flexible": estimate()},
            form="chat",
            shots=0,
            prompt_version="tmr_arithmetic 1, lm-eval 0.4.13",
            template_sha256=SHA,
            dataset=Dataset(path=None, name=None, sha256=SHA),
            decoding=decoding(),
            ignored_settings={},
            cut_prompts=0,
            seconds=1.5,
            request=request(),
            model="sft/model",
            model_sha256=SHA,
            asking_sha256=SHA,
            task_sha256=SHA,
            provenance=provenance(),
        ),
        **values,
    )


def difference(**values: Any) -> PairedDifference:
    return change(
        PairedDifference(
            n=300,
            original=0.5,
            variant=0.4,
            difference=-0.1,
            low=-0.15,
            high=-0.05,
            won=10,
            lost=40,
        ),
        **values,
    )


def contamination(**values: Any) -> Contamination:
    searched = SearchedText(
        stage="pretraining", manifest="mixture/manifest.json", manifest_sha256=SHA,
        documents=900, found=2,
    )  # fmt: skip
    return change(
        Contamination(
            results_sha256=SHA,
            texts=[searched],
            rule="70% of a problem's runs of 32 letters",
            problems=200,
            too_short=0,
            found=[3, 7],
            metric="strict",
            clean=estimate(n=198),
            contaminated=estimate(value=1.0, high=1.0, n=2),
            provenance=provenance(),
        ),
        **values,
    )


def sample(**values: Any) -> SampleRecord:
    return change(
        SampleRecord(
            id=0,
            subtask="tmr_arithmetic",
            question="What is 2 + 2?",
            prompt="What is 2 + 2?\n",
            expected="4",
            answer="4",
            correct=True,
            metrics={"strict": 1.0},
            completions=["2 + 2 = 4.\n#### 4"],
            all_answers=["4"],
            all_correct=[True],
        ),
        **values,
    )


def example_counts(**values: Any) -> ExampleCounts:
    return change(
        ExampleCounts(
            read=10, kept=8, rejected={"exact_duplicate": 2}, train=7, eval=1, tokens=400
        ),
        **values,
    )


def examples(**values: Any) -> ExamplesManifest:
    return change(
        ExamplesManifest(
            sources={"gsm8k": example_counts()},
            inputs=ExampleInputs(
                form=1,
                data=ExampleData(
                    sources={"gsm8k": RecipeSource(format="gsm8k", path="train.parquet")},
                    decontaminate=[],
                ),
                files={"train.parquet": (5_000, None)},
                tokenizer=SHA,
                max_length=128,
            ),
            files=[WrittenFile(path="train.parquet", bytes=900, sha256=SHA)],
            provenance=provenance(),
        ),
        **values,
    )


def tuning_run(**values: Any) -> TuningRun:
    return change(
        TuningRun(
            values={"learning_rate": 1e-5},
            arguments={},
            base=SHA,
            data={"train": SHA},
            tokenizer=SHA,
            processes=1,
            accuracy=None,
        ),
        **values,
    )


def arguments(**values: Any) -> TrainerArguments:
    return change(
        TrainerArguments(
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            learning_rate=1e-5,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            optim="adamw_torch_fused",
            use_cpu=False,
        ),
        **values,
    )


def _tuned() -> dict[str, Any]:
    return {
        "base": SHA,
        "data": {"train": SHA},
        "tokenizer": SHA,
        "processes": 1,
        "accuracy": None,
        "model_name_or_path": "base",
        "model_sha256": SHA,
        "history": [LogEntry(step=1, loss=2.0), LogEntry(step=1, epoch=1.0, eval_loss=1.5)],
        "tokens": 777,
        "steps": 1,
        "arguments": arguments(),
        "device": "cuda",
        "arithmetic": "bfloat16",
        "weights": "float32",
        "seconds": 1.5,
        "provenance": provenance(),
    }


def sft(**values: Any) -> SftRecord:
    own = {"counts": {"gsm8k": example_counts()}, "manifest": SHA}
    return SftRecord(**{**_tuned(), **own, **values})


def preference_counts() -> PreferenceCounts:
    return PreferenceCounts(
        problems={"paired": 3}, left_out={}, samples={"correct": 4}, pairs={"written": 5}
    )


def dpo(**values: Any) -> DpoRecord:
    return DpoRecord(**{**_tuned(), "counts": preference_counts(), **values})


def grpo(**values: Any) -> GrpoRecord:
    own = {"counts": {"gsm8k": {"kept": 5}}, "problems": 5, "rewards": {"right": 1.0}}
    return GrpoRecord(**{**_tuned(), **own, "unjudged": {}, **values})


def preferences(**values: Any) -> Preferences:
    return change(
        Preferences(
            counts=preference_counts(),
            sources={"gsm8k": {"kept": 5}},
            inputs=SamplingInputs(
                problems=SHA, tokenizer=SHA, model=SHA, asking=SHA, sampling={"samples": 8}
            ),
            pairs_per_problem=4,
            model="sft/model",
            pairs_sha256=SHA,
            provenance=provenance(),
        ),
        **values,
    )


def report(**values: Any) -> Report:
    ends = SplitEnds(train=Ends(first=4.0, last=1.0), eval=Ends(first=4.0, last=1.5))
    curves = SplitCurves(train=[(0, 4.0), (1, 1.0)], eval=[(0, 4.0), (1, 1.5)])
    return change(
        Report(
            run="runs/quickstart",
            stages={
                "data": StageSummary(
                    command="python -m room.command", commit=None, seconds=1.5, peak_bytes=2**30
                )
            },
            data={
                "web": SourceSummary(
                    tokens=100, weight=1.0, documents=Documents(read=1, kept=1, rejected={})
                )
            },
            sft_data=None,
            seconds={"data": 1.5},
            peak_bytes={"data": 2**30},
            tokens=Tokens(data=100, pretrain=80, sft=777),
            parameters=12_345,
            parity=parity(),
            loss={"pretrain": ends},
            curves={"pretrain": curves},
            accuracy={
                "sft": ReportAccuracy(
                    **dict(estimate()),
                    task="arithmetic",
                    metric="strict",
                    shots=0,
                    form="chat",
                    interval="Wilson",
                    metrics={"strict": estimate()},
                )
            },
            samples=[
                ReportAnswer(question="2 + 2?", completions=["4"], expected="4", correct=True),
            ],
            provenance=provenance(),
        ),
        **values,
    )


def scaling_law(target: str = "loss", size: str = "5M") -> ScalingLaw:
    """E = 1, A / N^alpha = 100 / N^0.5 and as much of D; without scatter."""
    parameters = [0.0, math.log(100), math.log(100), 0.5, 0.5, 1.0, 0.0]
    return ScalingLaw(
        target=target,
        unit="nats a token",
        form="shared",
        parameters=parameters,
        bootstrap=[parameters],
        residuals=[0.0],
        errors={"shared": 0.001},
        widening=1.0,
        held_out=[
            HeldOutRun(
                name=size, size=size, measured=2.0, foretold=Interval(value=2.0, low=1.9, high=2.1)
            )
        ],
    )


def ladder(**values: Any) -> LadderReport:
    """A report of four sizes up to 1e6 weights, 1e7 tokens and 6e13 FLOPs."""
    return change(
        LadderReport(
            ladder="ladder.yaml",
            table_sha256=SHA,
            vocab_size=256,
            tokenizer_sha256=SHA,
            mixture=MixtureHash(manifest_sha256=SHA, content_sha256=SHA),
            shares={"web": 1.0},
            level=0.9,
            range=LadderRange(
                sizes=["1M", "2M", "3M", "5M"],
                parameters=[1e5, 1e6],
                tokens=[1e6, 1e7],
                flops=[6e11, 6e13],
                runs=8,
            ),
            diverged=[],
            loss=scaling_law(),
            tasks={
                "arithmetic": TaskLaw(
                    bits=scaling_law("bits/arithmetic"),
                    link=AccuracyLink(
                        parameters=[0.0, 4.0, 1.2],
                        bootstrap=[[0.0, 4.0, 1.2]],
                        dispersion=1.0,
                        problems=1_000,
                    ),
                    reason="",
                    held_out=[],
                ),
                "gsm8k": TaskLaw(
                    bits=scaling_law("bits/gsm8k"),
                    link=None,
                    reason="the accuracy of every run is zero",
                    held_out=[],
                ),
            },
            provenance=provenance(),
        ),
        **values,
    )


def _held_out() -> HeldOut:
    return HeldOut(nats_per_token=2.0, tokens=1_000, bytes=3_000)


def _solutions() -> SolutionLikelihood:
    return SolutionLikelihood(bits_per_byte=0.5, problems=100, bytes=5_000, left_out=1)


def likelihood(**values: Any) -> Likelihood:
    return change(
        Likelihood(
            model="base",
            model_sha256=SHA,
            sources={"web": _held_out()},
            tasks={"arithmetic": _solutions()},
            provenance=provenance(),
        ),
        **values,
    )


def ladder_point(**values: Any) -> PointRecord:
    """A finished run of a ladder whose one source is ``web``."""
    return change(
        PointRecord(
            name="law-1M-1x-seed0",
            group="law",
            status="finished",
            size="1M",
            parameters=1_000_000,
            matrices=900_000,
            tokens=1_024_000,
            steps=1_000,
            batch_tokens=1_024,
            rate=3e-3,
            weight_decay=0.1,
            seed=0,
            weights={"web": 1.0},
            flops=6e12,
            seconds=60.0,
            cpu_seconds=100.0,
            train_loss=2.1,
            loss=2.0,
            sources={"web": _held_out()},
            tasks={"arithmetic": _solutions()},
            accuracies={"arithmetic": AnswerCount(correct=40, problems=100)},
            provenance=provenance(),
        ),
        **values,
    )


EVERY: tuple[Record, ...] = (
    ladder(),
    likelihood(),
    ladder_point(),
    mixture(),
    stage(),
    starts(),
    configuration(),
    conversion(),
    open_model(),
    contamination(),
    results(),
    sample(),
    examples(),
    tuning_run(),
    sft(),
    dpo(),
    grpo(),
    preferences(),
    report(),
)
"""One of every record."""
