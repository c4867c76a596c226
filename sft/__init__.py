"""Fine-tuning with TRL: SFT on questions and worked answers, then DPO or GRPO."""
