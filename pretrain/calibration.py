"""Command: compare the roofline's estimates with published measurements of MaxText.

python -m pretrain.calibration
"""

from pretrain.preflight.calibration import main
from tinymathreason import cli

if __name__ == "__main__":
    cli.run(main)
