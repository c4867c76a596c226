"""``python -m maxtext.train``: our wheel places this file into the installed MaxText package."""

from pretrain.train import main
from tinymathreason import cli

if __name__ == "__main__":
    cli.run(main)
