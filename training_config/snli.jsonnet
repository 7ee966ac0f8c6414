// SNLI: entailment, neutral or contradiction between two sentences.
local data = 'https://nlp.stanford.edu/projects/snli/snli_1.0.zip!snli_1.0/';

(import 'experiment.libsonnet') {
  reader:: { type: 'sledgehammer_snli' },
  train_data_path: data + 'snli_1.0_train.jsonl',
  validation_data_path: data + 'snli_1.0_dev.jsonl',
}
