"""The client beside the OpenAI SDK: what an import, a chunk and a request cost."""
