"""The study's own questions, put to its gains: the primary model, its verdicts, predictions, and what they depend on."""
