"""What `tools/train_tiny_model.py` needs: its dialogues, the tokenizer, the evaluation."""
