"""Any vision-language model of transformers as a captioning machine; see curator.captioners.vision."""
