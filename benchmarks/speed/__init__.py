"""Turn what `allennlp benchmark` measured, the speed of exported models, into tables."""
