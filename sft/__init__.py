"""Question-and-answer files and a base model in, a ChatML model out, by TRL's SFTTrainer."""
