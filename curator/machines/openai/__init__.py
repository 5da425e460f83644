"""An OpenAI-compatible endpoint as a captioning machine; see curator.captioners.openai."""
