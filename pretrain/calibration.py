"""Command: compare the estimated step time with the runs that upstream published.

python -m pretrain.calibration
"""

from pretrain.preflight.calibration import main
from tinymathreason import cli

if __name__ == "__main__":
    cli.run(main)
