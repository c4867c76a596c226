"""The command ``python -m maxtext.train``: the wheel installs this file into MaxText's package."""

from pretrain.train import main
from tinymathreason import cli

if __name__ == "__main__":
    cli.run(main)
