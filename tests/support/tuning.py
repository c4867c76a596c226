"""Short fine-tunings on the CPU: their configuration, and the model and record that they leave."""

import safetensors.numpy

from sft.checkpoints import MODEL
from tinymathreason.records.tuning import SftRecord

CONFIG = """
model_name_or_path: {model}
output_dir: {output}
sources:
  problems: {{format: arithmetic, examples: 60}}
eval_fraction: 0.2
max_steps: 6
per_device_train_batch_size: 4
learning_rate: 1.0e-3
max_length: 128
activation_checkpointing: false
use_cpu: true
logging_steps: 1
save_steps: 2
eval_strategy: steps
eval_steps: 3
report_to: none
disable_tqdm: true
"""


def write(path, model, output, more: str = ""):
    path.write_text(CONFIG.format(model=model, output=output) + more)
    return path


def weights(output):
    return safetensors.numpy.load_file(output / MODEL / "model.safetensors")


def record(output):
    return SftRecord.load(output / MODEL / "sft.json")


def history(output):
    return [entry.model_dump(exclude_none=True) for entry in record(output).history]
