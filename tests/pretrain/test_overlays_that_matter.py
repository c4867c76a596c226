"""MaxText itself confirms that the 1B overlays describe the model card's model and training."""

import math
from pathlib import Path

import pytest

from conversion.architecture import MAXTEXT, Architecture
from conversion.mapping import hf_tensors, stored
from data_prep.recipe import Recipe
from pretrain import overlay
from pretrain.model import Model
from tinymathreason.config import load

CONFIGS = Path("maxtext_configs")
CARD_PARAMETERS = 1_123_117_056
CARD_TOKENS = 300e9
TOKENS_PER_STEP = 288 * 4096
# The number of devices of each hardware overlay.
HARDWARE = {
    "tinymathreason_1b_v4_32.yml": 16,
    "tinymathreason_1b_v4_64.yml": 32,
    "tinymathreason_1b_v5e_16.yml": 16,
    "tinymathreason_1b_v5p_16.yml": 8,
    "tinymathreason_1b_v6e_16.yml": 16,
    "tinymathreason_1b_tpu7x_8.yml": 8,
    "tinymathreason_1b_gpu.yml": 1,
    "tinymathreason_1b_gpu_8.yml": 8,
}
SCHEDULES = [
    ("tinymathreason_1b_wsd_v4_32.yml", "tinymathreason_1b_anneal_v4_32.yml"),
    ("tinymathreason_1b_2026_wsd_v4_32.yml", "tinymathreason_1b_2026_decay_v4_32.yml"),
]
MIXTURES = {
    "tinymathreason_1b_v4_32": "tinymathreason_1b",
    "tinymathreason_1b_2026_v4_32": "tinymathreason_1b_2026",
    "tinymathreason_1b_2026_wsd_v4_32": "tinymathreason_1b_2026",
    "tinymathreason_1b_2026_decay_v4_32": "tinymathreason_1b_2026_decay",
}
"""The recipe of the mixture that an overlay trains on."""
LADDER = {"20m": 20_614_400, "85m": 85_005_440, "300m": 302_027_904}

maxtext = [pytest.mark.xdist_group("maxtext"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def upstream():
    """MaxText's configuration module."""
    from maxtext.configs import pyconfig

    return pyconfig


OVERRIDDEN = {
    "base_config",
    "base_output_directory",
    "hardware",
    "log_config",
    "skip_jax_distributed_system",
}
"""Keys that `resolve` overrides."""


def own_keys(path: Path) -> set[str]:
    """The keys that an overlay and its bases set."""
    return {key for file in overlay._chain(path) for key in overlay._read(file)}


def resolve(upstream, name: str, **overrides):
    return upstream.initialize(
        ["", str(CONFIGS / name)],
        base_output_directory="/nowhere",
        skip_jax_distributed_system=True,
        log_config=False,
        **overrides,
    )


@pytest.mark.usefixtures("upstream")
class TestByMaxText:
    pytestmark = maxtext

    @pytest.mark.parametrize(
        ("name", "parameters"),
        [("tinymathreason_1b.yml", CARD_PARAMETERS), ("quickstart.yml", None)],
    )
    def test_parameters_by_abstract_initialisation(self, upstream, name, parameters) -> None:
        import math

        import jax
        from flax import nnx
        from maxtext.utils import model_creation_utils

        config = resolve(upstream, name, hardware="cpu", attention="dot_product")
        _, model = model_creation_utils.create_nnx_abstract_model(config)
        leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
        counted = sum(math.prod(leaf.shape) for leaf in leaves)
        sizes = Architecture.from_maxtext(overlay.load(CONFIGS / name))
        assert counted == sizes.parameters
        assert parameters in (None, counted)

    def test_schedule(self, upstream) -> None:
        from maxtext.utils.maxtext_utils import create_learning_rate_schedule

        config = resolve(upstream, "tinymathreason_1b.yml", hardware="cpu")
        schedule = create_learning_rate_schedule(config)
        warm_up = 1780
        assert float(schedule(0)) == 0
        assert float(schedule(warm_up)) == pytest.approx(3e-4, rel=1e-3)
        half = (warm_up + config.steps) // 2
        assert float(schedule(half)) == pytest.approx((3e-4 + 3e-5) / 2, rel=1e-3)
        assert float(schedule(config.steps - 1)) == pytest.approx(3e-5, rel=1e-3)
        rates = [float(schedule(step)) for step in range(0, config.steps, 10_000)]
        assert max(rates) <= 3e-4

    @pytest.mark.parametrize("names", SCHEDULES)
    def test_the_other_schedule(self, upstream, names: tuple[str, str]) -> None:
        from maxtext.utils.maxtext_utils import create_learning_rate_schedule

        stable, decay = (resolve(upstream, name, hardware="cpu") for name in names)
        # One schedule in two runs: the second starts at the step after the first one's last.
        rates = [create_learning_rate_schedule(config) for config in (stable, decay)]
        for step in (0, 1780, 100_000, stable.steps - 1, stable.steps, decay.steps - 1):
            assert float(rates[0](step)) == float(rates[1](step))
        assert decay.load_full_state_path.endswith(f"/{stable.steps - 1}/items")
        assert decay.learning_rate_schedule_steps == decay.steps == 254_313
        assert float(rates[0](stable.steps - 1)) == pytest.approx(3e-4)
        assert float(rates[0](decay.steps - 1)) < 1e-8
        assert float(rates[0](decay.steps - 12_716)) == pytest.approx(1.5e-4, rel=1e-2)

    def test_what_does_not_decay(self, upstream) -> None:
        import jax
        from flax import nnx
        from maxtext.optimizers import optimizers
        from maxtext.utils import model_creation_utils

        config = resolve(upstream, "quickstart.yml", hardware="cpu")
        _, model = model_creation_utils.create_nnx_abstract_model(config)
        mask = optimizers.get_adamw_mask(config)(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
        decays = {
            jax.tree_util.keystr(path, simple=True, separator="/"): decay
            for path, decay in jax.tree_util.tree_leaves_with_path(mask)
        }
        spared = {path for path, decay in decays.items() if not decay}
        assert spared == {p for p in decays if p.endswith("norm/scale") or "embedder" in p}
        assert len(spared) == 4

    def test_our_reading_of_overlays_is_maxtexts(self, upstream) -> None:
        for path in sorted(CONFIGS.glob("*.yml")):
            ours = overlay.load(path)
            theirs = resolve(upstream, path.name, hardware="cpu").get_keys()
            for key in (own_keys(path) | MAXTEXT.keys()) - OVERRIDDEN:
                # MaxText turns some strings into enumerations.
                value = getattr(theirs[key], "value", theirs[key])
                assert str(ours[key] or None) == str(value or None), (path, key)


def test_optimiser_and_shape_are_the_cards() -> None:
    config = overlay.load(CONFIGS / "tinymathreason_1b.yml")
    assert config["opt_type"] == "adamw"
    assert (config["adam_b1"], config["adam_b2"], config["adam_weight_decay"]) == (0.9, 0.95, 0.1)
    assert config["lr_schedule_type"] == "cosine"
    sizes = Architecture.from_maxtext(config)
    assert (sizes.layers, sizes.hidden, sizes.heads, sizes.kv_heads) == (22, 2048, 16, 4)
    assert (sizes.head_dim, sizes.mlp, sizes.context, sizes.vocab) == (128, 5632, 4096, 32_000)
    assert sizes.parameters == CARD_PARAMETERS


def test_the_map_holds_every_parameter_once() -> None:
    sizes = Architecture.from_maxtext(overlay.load(CONFIGS / "tinymathreason_1b.yml"))
    arrays = [array.shape for array in stored(sizes, scanned=True).values()]
    for shapes in (arrays, hf_tensors(sizes).values()):
        assert sum(math.prod(shape) for shape in shapes) == CARD_PARAMETERS


OPTIMISATION = (
    "steps", "learning_rate", "lr_schedule_type", "warmup_steps_fraction", "adam_", "adamw_mask",
    "z_loss_multiplier", "gradient_clipping_threshold", "max_target_length", "grain_packing_type",
    "learning_rate_schedule_steps", "learning_rate_final_fraction", "dtype", "init_weights_seed",
    "base_", "head_dim", "data_shuffle_seed", "weight_dtype", "add_", "num_epoch",
)  # fmt: skip


@pytest.mark.parametrize("name", HARDWARE)
def test_every_slice_trains_the_same(name: str) -> None:
    config = overlay.load(CONFIGS / name)
    sequences = config["per_device_batch_size"] * HARDWARE[name]
    sequences *= config["gradient_accumulation_steps"]
    assert sequences * config["max_target_length"] == TOKENS_PER_STEP
    assert config["steps"] * TOKENS_PER_STEP == pytest.approx(CARD_TOKENS, rel=1e-5)
    family = overlay.load(CONFIGS / "tinymathreason_1b.yml")
    for key, value in family.items():
        if key.startswith(OPTIMISATION) and key != "base_output_directory":
            assert config[key] == value, key


def test_every_hardware_overlay_is_checked() -> None:
    overlays = {path.name for path in CONFIGS.glob("tinymathreason_1b_*.yml")}
    schedules = {name for names in SCHEDULES for name in names}
    assert overlays == HARDWARE.keys() | schedules | {f"{name}.yml" for name in MIXTURES}


@pytest.mark.parametrize("size", LADDER)
def test_the_ladder_has_the_models_shape_at_other_sizes(size: str) -> None:
    model = Model.from_config(config := overlay.load(CONFIGS / f"tinymathreason_{size}.yml"))
    assert model.parameters == LADDER[size]
    assert model.mlp == 2.75 * model.hidden
    assert model.heads * model.head_dim == model.hidden
    assert model.heads == 4 * model.kv_heads
    sequences = 4 * config["per_device_batch_size"] * config["gradient_accumulation_steps"]
    tokens = config["steps"] * sequences * config["max_target_length"]
    assert tokens / model.parameters == pytest.approx(20, rel=1e-3)


@pytest.mark.parametrize("size", ["85m", "300m"])
def test_the_ladder_on_one_gpu_is_the_same_training(size: str) -> None:
    base, gpu = (overlay.load(CONFIGS / f"tinymathreason_{size}{end}.yml") for end in ("", "_gpu"))

    def sequences(config, devices: int) -> int:
        return devices * config["per_device_batch_size"] * config["gradient_accumulation_steps"]

    assert sequences(gpu, 1) == sequences(base, 4)
    for key, value in base.items():
        if key.startswith(OPTIMISATION) and key != "base_output_directory":
            assert gpu[key] == value, key


def test_xlas_options_for_a_gpu_are_known_to_the_installed_xla() -> None:
    """XLA knows the options of all platforms, and refuses another name or a wrong value."""
    import jax
    from maxtext.utils.max_utils import parse_libtpu_flags_to_dict

    from benchmarks.pretrain_gpu import VARIANTS

    overlays = [(path, ()) for path in sorted(CONFIGS.glob("*_gpu*.yml"))]
    variants = [
        (CONFIGS / "tinymathreason_1b_gpu.yml", variant.keys) for variant in VARIANTS.values()
    ]
    flags = {overlay.load(path, keys)["compile_xla_flags"] for path, keys in overlays + variants}
    assert len(flags) > 3
    step = jax.jit(lambda x: x + 1).lower(1.0)
    for line in flags:
        options = parse_libtpu_flags_to_dict(line)
        assert step.compile(compiler_options=options)(1.0) == 2.0
        with pytest.raises(jax.errors.JaxRuntimeError):
            step.compile(compiler_options={**options, "xla_gpu_no_such_option": "True"})


@pytest.mark.parametrize(("overlay_name", "recipe_name"), MIXTURES.items())
def test_evaluation_mixes_sources_as_the_recipe_does(overlay_name: str, recipe_name: str) -> None:
    recipe = load(Recipe, f"data_prep/recipes/{recipe_name}.yaml")
    config = overlay.load(CONFIGS / f"{overlay_name}.yml")
    assert config["grain_train_mixture_config_path"] == f"{recipe.output_dir}/mixture.json"
    tokenizer = recipe.tokenizer.path or recipe.output_dir / "tokenizer"
    assert config["tokenizer_path"] == str(tokenizer)
    patterns = [part.split(",") for part in config["grain_eval_files"].split(";")]
    assert {pattern: float(weight) for pattern, weight in patterns} == {
        f"{recipe.output_dir}/{name}/eval-*": source.weight
        for name, source in recipe.sources.items()
    }


def test_every_overlay_resolves_and_says_only_what_differs() -> None:
    for path in sorted(CONFIGS.glob("*.yml")):
        own = overlay._read(path)
        parent = (
            overlay.load(path.parent / own["base_config"])
            if own["base_config"] != ("base.yml")
            else overlay._read(overlay.upstream_configs() / "base.yml")
        )
        assert overlay.load(path)
        same = [key for key, value in own.items() if parent.get(key, ...) == value]
        assert same == [], f"{path} repeats what it inherits: {same}"
